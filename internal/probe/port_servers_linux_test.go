package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/epm"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// patient waits for servers that are slow to answer under load, not for those that do not.
func patient() *Prober { return &Prober{Timeout: 10 * time.Second} }

// waitListening waits for a server to listen.
func waitListening(t *testing.T, server *nstest.Process, q PortQuestion) {
	t.Helper()
	bare := PortQuestion{Network: q.Network, Port: q.Port, Ask: q.Ask, Secret: q.Secret}
	if q.Network == "tcp" {
		bare.Ask = ""
	}
	p := &Prober{Timeout: time.Second}
	nstest.WaitFor(t, "an answer", 20*time.Second, func() bool {
		if server != nil && server.Ended() {
			t.Fatalf("the server has ended:\n%s", server.Output())
		}
		return p.Port(t.Context(), loopback, bare).State == Listening
	})
}

// answers asks a server and compares with patterns.
func answers(t *testing.T, q PortQuestion, what, text string) PortResult {
	t.Helper()
	q.Greet = true
	r := patient().Port(t.Context(), loopback, q)
	if r.State != Listening || r.Time <= 0 || r.What != what || !regexp.MustCompile(text).MatchString(r.Text) {
		t.Errorf("%s/%d: %v after %v, %q: %q, %q, want %q: %q", q.Network, q.Port, r.State, r.Time, r.What, r.Text, r.Problems, what, text)
	}
	return r
}

func noProblems(t *testing.T, r PortResult) {
	t.Helper()
	if len(r.Problems) > 0 {
		t.Errorf("%s/%d: problems %q, want none", r.Network, r.Port, r.Problems)
	}
}

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDnsmasq(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	dir := t.TempDir()
	s := nstest.Start(t, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--group=root",
		"--pid-file", "--listen-address=127.0.0.1", "--bind-interfaces", "--enable-tftp", "--tftp-root="+dir)
	waitListening(t, s, PortQuestion{Network: "tcp", Port: 53})
	for _, network := range []string{"tcp", "udp"} {
		noProblems(t, answers(t, PortQuestion{Network: network, Port: 53}, "DNS", "^REFUSED"))
	}
	noProblems(t, answers(t, PortQuestion{Network: "udp", Port: 69}, "TFTP", "^error 1: .*"+tftpName))
}

func TestChrony(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	conf := func(more string) string {
		return writeFile(t, filepath.Join(t.TempDir(), "chrony.conf"), "allow 127.0.0.1\ncmdport 0\npidfile /run/chrony.pid\nbindaddress 127.0.0.1\n"+more)
	}
	q := PortQuestion{Network: "udp", Port: 123}
	s := nstest.Start(t, "chronyd", "-x", "-d", "-u", "root", "-f", conf(""))
	waitListening(t, s, q)
	if r := answers(t, q, "NTP", "version 4, stratum 0"); len(r.Problems) != 1 {
		t.Errorf("problems %q, want that it is not synchronized", r.Problems)
	}
	s.Signal(os.Interrupt)
	s.Wait(t, 20*time.Second)
	waitListening(t, nstest.Start(t, "chronyd", "-x", "-d", "-u", "root", "-f", conf("local stratum 7\n")), q)
	noProblems(t, answers(t, q, "NTP", "version 4, stratum 7, clock right"))
}

func TestSnmpd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	conf := writeFile(t, filepath.Join(t.TempDir(), "snmpd.conf"), "rocommunity ours\nsysDescr an agent of the test\nagentaddress udp:127.0.0.1:161\n")
	q := PortQuestion{Network: "udp", Port: 161, Secret: "ours"}
	waitListening(t, nstest.Start(t, "snmpd", "-f", "-Lo", "-C", "-c", conf, "-p", "/run/snmpd.pid"), q)
	noProblems(t, answers(t, q, "SNMP", "^an agent of the test$"))
	for secret, want := range map[string]string{
		"": "version 3; no answer to the community public", "theirs": "version 3; no answer to the community that was given",
	} {
		q.Secret = secret
		r := (&Prober{Timeout: time.Second}).Port(t.Context(), loopback, q)
		if r.State != Listening || r.Text != want {
			t.Errorf("with a community that it does not know: %v, %q, want %q", r.State, r.Text, want)
		}
	}
}

func TestSlapd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	dir := t.TempDir()
	cert, key := certificate(t, dir, "ldap.example.org")
	conf := writeFile(t, filepath.Join(dir, "slapd.conf"), `include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile `+dir+`/pid
TLSCertificateFile `+cert+`
TLSCertificateKeyFile `+key+`
database mdb
suffix "dc=example,dc=org"
directory `+dir+"\n")
	s := nstest.Start(t, "slapd", "-d", "256", "-f", conf, "-h", "ldap://127.0.0.1/ ldaps://127.0.0.1/")
	q := PortQuestion{Network: "tcp", Port: 389}
	waitListening(t, s, q)
	noProblems(t, answers(t, q, "LDAP", "^dc=example,dc=org, LDAP 3$"))
	r := answers(t, PortQuestion{Network: "tcp", Port: 636, Name: "ldap.example.org"}, "LDAP over TLS", "^dc=example,dc=org, LDAP 3; TLS 1.[23], CN=ldap.example.org by CN=ldap.example.org until 2")
	if len(r.Problems) != 1 {
		t.Errorf("problems %q, want that the certificate is not trusted", r.Problems)
	}
}

// certificate writes a certificate of its own for a name, and its key.
func certificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, kind string, b []byte) string {
		return writeFile(t, filepath.Join(dir, file), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})))
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", private)
}

// TestSMBVersions: Samba as old and as new as it can be.
func TestSMBVersions(t *testing.T) {
	for _, tt := range []struct {
		version  string
		signing  string
		text     string
		problems int
	}{
		{"NT1", "auto", "version 1 only", 1},
		{"SMB2_02", "auto", "2.0.2, signing enabled", 0},
		{"SMB3", "mandatory", "3.1.1, signing required", 0},
	} {
		t.Run(tt.version, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			nstest.NeedRoot(t)
			conf := "[global]\nserver role = standalone server\nserver min protocol = NT1\nserver max protocol = " + tt.version + "\nserver signing = " + tt.signing +
				"\ninterfaces = lo\nbind interfaces only = yes\n"
			for _, dir := range []string{"private", "lock", "state", "cache", "pid"} {
				if err := os.MkdirAll("/run/smb/"+dir, 0o755); err != nil {
					t.Fatal(err)
				}
				name := dir + map[bool]string{true: " dir", false: " directory"}[dir == "private"]
				conf += name + " = /run/smb/" + dir + "\n"
			}
			conf += "ncalrpc dir = /run/smb/ncalrpc\n"
			// It makes a process group of its own, and ends that with itself.
			s := nstest.Start(t, "smbd", "-F", "--debug-stdout", "-s", writeFile(t, "/run/smb/smb.conf", conf))
			q := PortQuestion{Network: "tcp", Port: 445}
			waitListening(t, s, q)
			if r := answers(t, q, "SMB", "^"+tt.text+"$"); len(r.Problems) != tt.problems {
				t.Errorf("problems %q, want %d", r.Problems, tt.problems)
			}
			q.Port = portNetBIOSSession
			answers(t, q, "SMB", "^"+tt.text+"$")
		})
	}
}

func TestVsftpd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	conf := writeFile(t, filepath.Join(t.TempDir(), "vsftpd.conf"), "listen=YES\nlisten_address=127.0.0.1\nanonymous_enable=YES\nlocal_enable=NO\nsecure_chroot_dir=/run\nftpd_banner=the test's\nbackground=NO\nisolate=NO\nisolate_network=NO\nseccomp_sandbox=NO\n")
	s := nstest.Start(t, "vsftpd", conf)
	q := PortQuestion{Network: "tcp", Port: 21}
	waitListening(t, s, q)
	noProblems(t, answers(t, q, "FTP", "^the test's$"))
}

func TestSshd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	dir := t.TempDir()
	if err := os.Mkdir("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	local(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/key")
	s := nstest.Start(t, nstest.Path(t, "sshd"), "-D", "-e", "-f", "/dev/null", "-h", dir+"/key", "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none")
	q := PortQuestion{Network: "tcp", Port: 22}
	waitListening(t, s, q)
	noProblems(t, answers(t, q, "SSH", "^SSH-2.0-OpenSSH"))
}

func TestRpcbind(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	s := nstest.Start(t, "rpcbind", "-f", "-w")
	q := PortQuestion{Network: "tcp", Port: 111}
	waitListening(t, s, q)
	for _, network := range []string{"tcp", "udp"} {
		q.Network = network
		q.Program, q.Version = 0, 0
		noProblems(t, answers(t, q, "ONC RPC", "^program 100000 version 2$"))
		q.Program, q.Version = 100000, 9
		answers(t, q, "ONC RPC", "^program 100000 version 9: oncrpc: PROG_MISMATCH: versions 2 to 4")
	}
}

// TestSamba: a domain controller has nearly everything.
func TestSamba(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "samba", "samba-tool")
	const dir = "/run/dc" // in memory, and gone with the namespace
	local(t, "samba-tool", "domain", "provision", "--domain=CORP", "--realm=CORP.EXAMPLE", "--host-name=dc1", "--host-ip=127.0.0.1",
		"--adminpass=Passw0rd-of-the-test", "--dns-backend=SAMBA_INTERNAL", "--targetdir="+dir, "--option=interfaces=lo", "--option=bind interfaces only=yes")
	s := nstest.Start(t, "samba", "-F", "-s", dir+"/etc/smb.conf", "--debug-stdout")
	for _, port := range []uint16{389, 88, 53, 139, 445, 3268} {
		waitListening(t, s, PortQuestion{Network: "tcp", Port: port})
	}
	for _, port := range []uint16{88, 137, 389, 464} {
		waitListening(t, s, PortQuestion{Network: "udp", Port: port})
	}
	const ad = "LDAP, Active Directory"
	for _, tt := range []struct {
		network    string
		port       uint16
		name       string
		what, text string
	}{
		{"udp", 389, "", ad, `^domain corp\.example \(CORP\), host dc1\.corp\.example, site Default-First-Site-Name: PDC, global catalog, KDC, .*writable`},
		{"udp", 389, "corp.example", ad, `host dc1\.corp\.example`},
		{"udp", 389, "dc1.corp.example", ad, `^domain corp\.example \(CORP\)`}, // which is no domain
		{"tcp", 389, "", ad, `^DC=corp,DC=example, host dc1.corp.example, LDAP 2 3, Samba Team`},
		{"tcp", 3268, "", ad, `^DC=corp,DC=example, host dc1.corp.example`},
		{"tcp", 88, "", "Kerberos", "^KDC_ERR_C_PRINCIPAL_UNKNOWN, realm QUAYMASTER.INVALID, clock right"},
		{"udp", 88, "corp.example", "Kerberos", "^KDC_ERR_C_PRINCIPAL_UNKNOWN, realm CORP.EXAMPLE, clock right"},
		{"udp", 53, "", "DNS", "^FORMERR"}, // Samba does not serve the root
		{"udp", 53, "corp.example", "DNS", "^NOERROR, authoritative, recursion offered, zone corp.example. of dc1.corp.example.$"},
		{"tcp", 53, "corp.example", "DNS", "zone corp.example. of dc1.corp.example.$"},
		{"udp", 137, "", "NetBIOS names", "domain "}, // it claims the others for some seconds
		{"tcp", 445, "", "SMB", "^3.1.1, signing required$"},
		{"tcp", 139, "", "SMB", "^3.1.1, signing required$"},
		{"udp", 464, "", "Kerberos, change of passwords", ""},
		{"tcp", 464, "", "Kerberos, change of passwords", "clock right"},
		{"tcp", 135, "", "DCE/RPC", ""},
	} {
		noProblems(t, answers(t, PortQuestion{Network: tt.network, Port: tt.port, Name: tt.name}, tt.what, tt.text))
	}
	r := patient().Port(t.Context(), loopback, PortQuestion{Network: "tcp", Port: 135, Greet: true})
	if !slices.Contains(r.Interfaces, endpoint.FromSyntax(epm.Interface)) {
		t.Errorf("its endpoint mapper has %v: %s, %q", r.Interfaces, r.Text, r.Problems)
	}
}
