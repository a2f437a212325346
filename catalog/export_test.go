package catalog

// Generate is for TestGenerated.
var Generate = generate
