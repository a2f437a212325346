package catalog

// What tests need beside the package's face.
var (
	Generate   = generate
	NewBuiltin = newBuiltin
)
