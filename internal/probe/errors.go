package probe

import "errors"

// Errors of what came back.
var (
	errFlood  = errors.New("many datagrams came, and none was the answer")
	errAnswer = errors.New("the answer is not understood")
	errEnd    = errors.New("too much came without an end")
)

// errSilent is silence on a connection that was made. A server hangs, or what listens waits for words of
// another protocol: it was no firewall that drops, so it is not filtered.
var errSilent = errors.New("it accepts the connection, and is silent")

// silentWords say what errSilent may be about.
const silentWords = "it accepts the connection, and is silent: it hangs, speaks something else, or a firewall accepts in its place"

// errNoPlace is that no more connections may be opened now.
var errNoPlace = errors.New("there are as many connections as there may be")
