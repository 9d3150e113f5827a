package suite

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestArchiveJudge: an archive that does any of what it must not is seen to.
func TestArchiveJudge(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("the host lacks tar")
	}
	const secret = secretPrefix + "0123456789"
	plain := func(name, content string) (tar.Header, string) {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content))}, content
	}
	for name, tt := range map[string]struct {
		header tar.Header
		body   string
		want   string // in what is said; "" for nothing
	}{
		"harmless":   {},
		"a link":     {tar.Header{Typeflag: tar.TypeSymlink, Name: "files/x", Linkname: "/etc"}, "", "is of type"},
		"a device":   {tar.Header{Typeflag: tar.TypeChar, Name: "files/x", Devmajor: 1, Devminor: 3}, "", "is of type"},
		"above":      {tar.Header{Typeflag: tar.TypeReg, Name: "../x", Mode: 0o600}, "", "is outside"},
		"absolute":   {tar.Header{Typeflag: tar.TypeReg, Name: "/tmp/x", Mode: 0o600}, "", "is outside"},
		"setuid":     {tar.Header{Typeflag: tar.TypeReg, Name: "files/x", Mode: 0o4755}, "", "has the mode"},
		"credential": {tar.Header{Typeflag: tar.TypeReg, Name: "processes/1/environ", Mode: 0o600, Size: int64(len(secret))}, secret, "has the credential"},
		"in a name":  {tar.Header{Typeflag: tar.TypeReg, Name: "files/" + secret, Mode: 0o600}, "", "has the credential"},
		"key":        {tar.Header{Typeflag: tar.TypeReg, Name: "files/key", Mode: 0o600, Size: 14}, "a private key\n", "is the host's key"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			put := func(h tar.Header, body string) {
				t.Helper()
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte(body)); err != nil {
					t.Fatal(err)
				}
			}
			put(plain("files/leak.txt", "key=********\n"))
			if tt.header.Name != "" {
				put(tt.header, tt.body)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "archive.tar")
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := judgeArchive(path, secret, &canaries{})
			if err != nil || tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestStrayMetric: a label that ends early is seen.
func TestStrayMetric(t *testing.T) {
	const good = "# HELP agentjail_run_info The run: a constant 1.\n# TYPE agentjail_run_info gauge\nagentjail_run_info{run=\"x\",name=\"a\\\"\\n\\\\\"} 1\n"
	if got := strayMetric(good); got != "" {
		t.Error(got)
	}
	for _, bad := range []string{"agentjail_run_info{run=\"x\",name=\"a\"} 1 b{c=\"\"} 1\n", "forged{a=\"b\"} 1\n", "agentjail_run_info{name=\"a\\x\"} 1\n"} {
		if strayMetric(good+bad) == "" {
			t.Errorf("%q passes", bad)
		}
	}
}
