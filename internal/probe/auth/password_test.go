package auth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPasswordFile(t *testing.T) {
	long := strings.Repeat("x", maxPassword)
	for _, tt := range []struct{ name, content, want string }{
		{"empty", "", ""},
		{"no end of line", "anchor", "anchor"},
		{"a line", "anchor\n", "anchor"},
		{"of Windows", "anchor\r\n", "anchor"},
		{"several", "anchor\nchain\n", "anchor"},
		{"spaces count", " an chor \n", " an chor "},
		{"longest", long + "\r\n", long},
	} {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := PasswordFile(path)(); err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	path := filepath.Join(t.TempDir(), "password")
	if _, err := PasswordFile(path)(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(long+"y"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := PasswordFile(path)(); err == nil || got != nil || strings.Contains(err.Error(), "xx") {
		t.Errorf("too long: %q, %v", got, err)
	}
}
