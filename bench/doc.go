// Command bench measures port mappers side by side: rpcbind, quaymaster, and
// a plain Go UDP echo of the same datagrams as the limit of what Go's sockets
// give. It prints one Markdown table and, below it, which of the project's
// targets are met.
//
//	go run ./bench
//
// Each server runs in network, mount and PID namespaces of its own, so every
// one of them has port 111 and /run/rpcbind.sock to itself, no packet leaves
// the loopback interface of its namespace, and all of it ends with the
// command. At the ports that are registered something listens. Rounds are
// interleaved between the servers, of which only one is awake at a time; every
// answer is verified.
//
// The exit status is 0 when everything was measured, whether or not the
// targets are met; 1 when a measurement failed; 2 when used wrongly.
package main
