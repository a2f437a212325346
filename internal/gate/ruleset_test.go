package gate

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// policies are those whose rules are golden files, and are loaded.
var policies = map[string]string{
	"example": string(Example()),
	"minimal": minimal,
	"own":     "forward: own\n" + minimal,
	"masquerade": `client_side: [c0, c1]
server_side: [s0]
forward: own
nat: masquerade
follow:
  epm: {clients: [10.1.0.0/16, 10.1.2.0/24, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
  portmapper: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
  ftp: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"], ports: [21, "2121-2123"]}
  tftp: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
marks: {packet: 0x1, flow: 0x80000000, table: 100, port: 2111}
`,
	"names": `client_side: ["a;b#c{", "0", "x'y"]
server_side: ["}", "accept", "eth0.7"]
follow: {ftp: {clients: [0.0.0.0/0, "::/0"], servers: [0.0.0.0/0, 10.0.0.1, "::/0"], ports: ["1-64"]}}
`,
	"snat": "nat: snat 192.0.2.1\n" + minimal,
	"ipv6": `client_side: [c0]
server_side: [s0]
nat: snat fd00:3::1
follow:
  tftp: {clients: ["fd00:1::/64"], servers: ["fd00:3::7"]}
`,
}

func TestPrintGolden(t *testing.T) {
	for name, text := range policies {
		t.Run(name, func(t *testing.T) {
			got := readPolicy(t, text).Print()
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got)\n%s", file, diff)
			}
		})
	}
}
