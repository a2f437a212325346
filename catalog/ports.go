package catalog

import (
	"errors"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/portset"
)

// Ports are what a service listens on: numbers that are known beforehand, a word
// for ones that are not, or both. The zero value is none, as of protocols that
// have no ports.
type Ports struct {
	Numbers portset.Set
	Symbol  Symbol // empty when Numbers are all there is
}

// A Symbol stands for ports that no file can name.
type Symbol string

const (
	DynamicRPC       Symbol = "dynamic-rpc"       // the dynamic range of the server, which the endpoint mapper tells: see [Catalog.DynamicPorts]
	DynamicONC       Symbol = "dynamic-onc"       // of the dynamic range too, which the port mapper tells
	DynamicEphemeral Symbol = "dynamic-ephemeral" // of the dynamic range too, which the protocol of the service itself tells
	Echo             Symbol = "echo"              // no port, but the echo request of ICMP
)

var symbols = []Symbol{DynamicRPC, DynamicONC, DynamicEphemeral, Echo}

// wordNone stands for no ports at all.
const wordNone = "none"

var errNoPorts = errors.New("no ports: want some such as 135,5000-5020, a word such as dynamic-rpc, or none")

// IsDynamic reports whether s stands for ports of the dynamic range.
func (s Symbol) IsDynamic() bool { return s != "" && s != Echo }

// IsNone reports whether p has neither numbers nor a symbol.
func (p Ports) IsNone() bool { return p.Numbers.IsEmpty() && p.Symbol == "" }

// String returns p as the files have it: "135,dynamic-rpc", "none".
func (p Ports) String() string {
	switch {
	case p.IsNone():
		return wordNone
	case p.Numbers.IsEmpty():
		return string(p.Symbol)
	case p.Symbol == "":
		return p.Numbers.String()
	default:
		return p.Numbers.String() + "," + string(p.Symbol)
	}
}

// ParsePorts reads what [Ports.String] writes: a set as for [portset.Parse], with a
// symbol behind it, or one of the two, or "none".
func ParsePorts(s string) (Ports, error) {
	if s == wordNone {
		return Ports{}, nil
	}
	if slices.Contains(symbols, Symbol(s)) {
		return Ports{Symbol: Symbol(s)}, nil
	}
	var p Ports
	numbers := s
	if i := strings.LastIndexByte(s, ','); i >= 0 && slices.Contains(symbols, Symbol(s[i+1:])) {
		numbers, p.Symbol = s[:i], Symbol(s[i+1:])
	}
	var err error
	if p.Numbers, err = portset.Parse(numbers); err != nil {
		return Ports{}, err
	}
	if p.Numbers.IsEmpty() {
		return Ports{}, errNoPorts
	}
	return p, nil
}

// MarshalText returns what String does, and never an error.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText sets p as [ParsePorts] does.
func (p *Ports) UnmarshalText(text []byte) error {
	q, err := ParsePorts(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}
