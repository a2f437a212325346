// Command bench measures mappers side by side: quaymaster with rpcbind as a port
// mapper of ONC and with Samba as an endpoint mapper of DCE, and beside both a
// plain Go server that gives the same answer to everybody, as the limit of what
// Go's sockets give. What quaymaster alone does, give out ports, is measured without
// others, and so is planning; asking many hosts, with nmap; a gate, with a gateway that forwards by fixed rules.
// It prints a Markdown table of each and, below them, which of the project's targets are met.
//
//	go run ./bench
//
// Each server runs in network, mount and PID namespaces of its own, so every
// one of them has its well-known port and /run to itself, no packet leaves
// the loopback interface of its namespace, or the cable to another where hosts
// are asked, and all of it ends with the command. At the ports that are registered
// something listens. Rounds are interleaved between the servers, of which only one is
// awake at a time; every answer is verified.
//
// The exit status is 0 when everything was measured, whether or not the
// targets are met; 1 when a measurement failed; 2 when used wrongly.
package main
