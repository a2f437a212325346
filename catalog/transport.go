package catalog

import (
	"fmt"
	"strconv"
	"strings"
)

// A Transport is one way to reach an interface: a protocol sequence and where to
// listen or call there.
type Transport struct {
	ProtocolSequence string       // such as ncacn_ip_tcp (C706, appendix I); empty with EndpointEvery
	Endpoint         string       // a port, a pipe such as \pipe\winreg, or a name; empty unless Kind gives it one
	Kind             EndpointKind // what is known of the endpoint
}

// An EndpointKind says how one comes by the endpoint of a [Transport].
type EndpointKind uint8

const (
	EndpointUnstated   EndpointKind = iota // the sources name no endpoint
	EndpointWellKnown                      // it is Transport.Endpoint
	EndpointDynamic                        // the server takes a free one, which the endpoint mapper tells
	EndpointActivation                     // Transport.Endpoint is where the object is activated before its interface is called elsewhere
	EndpointOfPeer                         // the one the other side of the conversation calls from
	EndpointEvery                          // every endpoint of every server, whatever the protocol sequence
)

// String returns a word or two: well-known.
func (k EndpointKind) String() string {
	words := [...]string{"unstated", "well-known", "dynamic", "activation", "of peer", "every"}
	if int(k) < len(words) {
		return words[k]
	}
	return fmt.Sprintf("EndpointKind(%d)", uint8(k))
}

// What the column transports says in words.
const (
	wordsDynamic    = "dynamic"
	wordsActivation = " activation" // after a port
	wordsOfPeer     = "same endpoint as peer"
	wordsEvery      = "on every endpoint"
)

// String returns t as rpc-interfaces.tsv has it: ncacn_np:\pipe\winreg.
func (t Transport) String() string {
	switch t.Kind {
	case EndpointWellKnown:
		return t.ProtocolSequence + ":" + t.Endpoint
	case EndpointDynamic:
		return t.ProtocolSequence + ":" + wordsDynamic
	case EndpointActivation:
		return t.ProtocolSequence + ":" + t.Endpoint + wordsActivation
	case EndpointOfPeer:
		return t.ProtocolSequence + ":" + wordsOfPeer
	case EndpointEvery:
		return wordsEvery
	default:
		return t.ProtocolSequence
	}
}

// Port returns the TCP or UDP port of t, or 0 if it has none that is known
// beforehand.
func (t Transport) Port() uint16 {
	switch t.ProtocolSequence {
	case "ncacn_ip_tcp", "ncadg_ip_udp", "ncacn_http":
		port, _ := strconv.ParseUint(t.Endpoint, 10, 16)
		return uint16(port)
	default:
		return 0
	}
}

// parseTransport reads what [Transport.String] writes.
func parseTransport(s string) (Transport, error) {
	if s == wordsEvery {
		return Transport{Kind: EndpointEvery}, nil
	}
	sequence, endpoint, stated := strings.Cut(s, ":")
	t := Transport{ProtocolSequence: sequence, Endpoint: endpoint, Kind: EndpointWellKnown}
	switch sequence {
	case "ncacn_ip_tcp", "ncadg_ip_udp", "ncacn_http":
		return parsePort(sequence, endpoint, s)
	case "ncacn_np":
		if pipe, ok := strings.CutPrefix(endpoint, `\pipe\`); !ok || pipe == "" || strings.Contains(pipe, ",") {
			return t, fmt.Errorf(`%q: want one pipe such as \pipe\winreg after "ncacn_np:"`, s)
		}
	case "ncalrpc":
		if !stated {
			t.Kind = EndpointUnstated
		} else if endpoint == "" {
			return t, fmt.Errorf(`%q: want a name after ':', or neither`, s)
		}
	default:
		return t, fmt.Errorf("%q: want ncacn_ip_tcp, ncadg_ip_udp, ncacn_http, ncacn_np or ncalrpc before ':'", s)
	}
	return t, nil
}

// parsePort reads s, which has a protocol sequence of IP and behind it a port, or
// words in place of one.
func parsePort(sequence, endpoint, s string) (Transport, error) {
	t := Transport{ProtocolSequence: sequence}
	switch endpoint {
	case wordsDynamic:
		t.Kind = EndpointDynamic
		return t, nil
	case wordsOfPeer:
		t.Kind = EndpointOfPeer
		return t, nil
	}
	t.Endpoint, t.Kind = endpoint, EndpointWellKnown
	if port, ok := strings.CutSuffix(endpoint, wordsActivation); ok {
		t.Endpoint, t.Kind = port, EndpointActivation
	}
	if port := t.Port(); port == 0 || strconv.Itoa(int(port)) != t.Endpoint {
		return t, fmt.Errorf("%q: want a port from 1 to 65535, %s or %q after %q", s, wordsDynamic, wordsOfPeer, sequence+":")
	}
	return t, nil
}
