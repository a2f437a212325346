package probe

import (
	"context"
	"slices"
)

// A protocol is one that a port can be asked in. Its conversations fill in What and Text of the
// result; the error of one that came to nothing says why.
type protocol struct {
	name  string // by which it is chosen
	title string // for people
	udp   func(context.Context, *talk) error
	tcp   func(context.Context, *talk) error
	ports []uint16 // where it is usual, over what it is spoken over
	from  uint16   // it is usual at this port and all above too, where nothing else is; 0: it is not

	silence string // why a server may be silent over UDP
}

// protocols are those that can be asked. A port that stands twice is the first one's.
var protocols = []protocol{
	{name: "dns", title: "DNS", udp: askDNS, tcp: greetDNS, ports: []uint16{53}},
	{name: "mdns", title: "mDNS", udp: askMDNS, ports: []uint16{5353}},
	{name: "kerberos", title: "Kerberos", udp: askKerberos, tcp: greetKerberos, ports: []uint16{88}},
	{name: "kpasswd", title: "Kerberos, change of passwords", udp: askKpasswd, tcp: greetKpasswd, ports: []uint16{464}},
	{name: "ntp", title: "NTP", udp: askNTP, ports: []uint16{123}},
	{name: "netbios", title: "NetBIOS names", udp: askNetBIOS, ports: []uint16{137}},
	{name: "snmp", title: "SNMP", udp: askSNMP, ports: []uint16{161}, silence: "SNMP does not answer communities that it does not know"},
	{name: "ldap", title: "LDAP", udp: askLDAP, tcp: greetLDAP, ports: []uint16{389, 3268}},
	{name: "ldaps", title: "LDAP over TLS", tcp: greetLDAPS, ports: []uint16{636, 3269}},
	{name: "tftp", title: "TFTP", udp: askTFTP, ports: []uint16{69}, silence: "some servers of TFTP do not answer for files that they do not have"},
	{name: "onc", title: "ONC RPC", udp: askONC, tcp: greetONC, ports: []uint16{111, 2049}},
	{name: "dce", title: "DCE/RPC", tcp: greetDCE, ports: []uint16{135}, from: dynamicDCE},
	{name: "ike", title: "IKE", udp: askIKE, ports: []uint16{500, portNAT}, silence: "some gateways answer only peers that they know"},
	{name: "radius", title: "RADIUS", udp: askRADIUS, ports: []uint16{1812, 1813, 1645, 1646}, silence: "RADIUS answers only clients that it knows, with the right secret"},
	{name: "sqlbrowser", title: "SQL Server Browser", udp: askSQLBrowser, ports: []uint16{1434}},
	{name: "l2tp", title: "L2TP", udp: askL2TP, ports: []uint16{1701}},
	{name: "ssh", title: "SSH", tcp: greetSSH, ports: []uint16{22}},
	{name: "ftp", title: "FTP", tcp: greetFTP, ports: []uint16{21}},
	{name: "smtp", title: "SMTP", tcp: greetSMTP, ports: []uint16{25, 587}},
	{name: "pop3", title: "POP3", tcp: greetPOP3, ports: []uint16{110}},
	{name: "imap", title: "IMAP", tcp: greetIMAP, ports: []uint16{143}},
	{name: "http", title: "HTTP", tcp: greetHTTP, ports: []uint16{80, 5985, 8080}},
	{name: "smb", title: "SMB", tcp: greetSMB, ports: []uint16{445, portNetBIOSSession}},
	{name: "rdp", title: "RDP", tcp: greetRDP, ports: []uint16{3389}},
	{name: "mssql", title: "SQL Server", tcp: greetMSSQL, ports: []uint16{1433}},
	{name: "tls", title: "TLS", tcp: greetTLS, ports: []uint16{443, 465, 853, 990, 993, 995, 5986, 8443}},
	{name: "banner", title: "a greeting", tcp: greetBanner, ports: []uint16{23, 593}},
}

func (p protocol) over(network string) bool {
	if network == "udp" {
		return p.udp != nil
	}
	return p.tcp != nil
}

// Protocols returns the names of what a port can be asked over a network, "tcp" or "udp".
func Protocols(network string) []string {
	var names []string
	for _, p := range protocols {
		if p.over(network) {
			names = append(names, p.name)
		}
	}
	return names
}

// protocolNamed returns what can be asked over a network by a name; nil: nothing.
func protocolNamed(name, network string) *protocol {
	return findProtocol(network, func(p protocol) bool { return p.name == name })
}

// usualProtocol returns what is usual at a port; nil: nothing.
func usualProtocol(network string, port uint16) *protocol {
	if p := findProtocol(network, func(p protocol) bool { return slices.Contains(p.ports, port) }); p != nil {
		return p
	}
	return findProtocol(network, func(p protocol) bool { return p.from != 0 && port >= p.from })
}

// Usual returns the name of the protocol that is usual at a port over a network; "": none is.
func Usual(network string, port uint16) string {
	if p := usualProtocol(network, port); p != nil {
		return p.name
	}
	return ""
}

func findProtocol(network string, is func(protocol) bool) *protocol {
	for i, p := range protocols {
		if p.over(network) && is(p) {
			return &protocols[i]
		}
	}
	return nil
}
