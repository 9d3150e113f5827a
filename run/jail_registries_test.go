package run_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// Stand-ins for package registries, each with one package.

// npmRegistry serves the package "greeting": its metadata and its tarball.
func npmRegistry(t testing.TB, host string) http.Handler {
	t.Helper()
	var tgz bytes.Buffer
	zw := gzip.NewWriter(&tgz)
	tw := tar.NewWriter(zw)
	for name, text := range map[string]string{
		"package/package.json": `{"name":"greeting","version":"1.0.0","main":"index.js"}`,
		"package/index.js":     `module.exports = "hello from npm"`,
	} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(tgz.Bytes())
	metadata, err := json.Marshal(map[string]any{
		"name": "greeting", "dist-tags": map[string]string{"latest": "1.0.0"},
		"versions": map[string]any{"1.0.0": map[string]any{
			"name": "greeting", "version": "1.0.0", "main": "index.js",
			"dist": map[string]string{"tarball": "https://" + host + "/greeting/-/greeting-1.0.0.tgz",
				"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /greeting", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(metadata)
	})
	mux.HandleFunc("GET /greeting/-/greeting-1.0.0.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(tgz.Bytes()) })
	return mux
}

// zipped makes a zip archive; the order of the files is kept.
func zipped(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for _, f := range files {
		w, err := zw.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pipIndex serves the wheel "greeting" by the simple index (PEP 503).
func pipIndex(t testing.TB) http.Handler {
	t.Helper()
	const wheel = "greeting-1.0.0-py3-none-any.whl"
	data := zipped(t,
		[2]string{"greeting.py", "TEXT = 'hello from pip'\n"},
		[2]string{"greeting-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0.0\n"},
		[2]string{"greeting-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: agentjail\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		[2]string{"greeting-1.0.0.dist-info/RECORD", "greeting.py,,\ngreeting-1.0.0.dist-info/METADATA,,\ngreeting-1.0.0.dist-info/WHEEL,,\ngreeting-1.0.0.dist-info/RECORD,,\n"},
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simple/greeting/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><html><body><a href="/files/%s#sha256=%x">%[1]s</a></body></html>`, wheel, sha256.Sum256(data))
	})
	mux.HandleFunc("GET /files/"+wheel, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	return mux
}

// goProxy serves the module "modules.example/greeting" by the module proxy protocol
// (https://go.dev/ref/mod#goproxy-protocol).
func goProxy(t testing.TB) http.Handler {
	t.Helper()
	const module, version, mod = "modules.example/greeting", "v1.0.0", "module modules.example/greeting\n\ngo 1.21\n"
	data := zipped(t,
		[2]string{module + "@" + version + "/go.mod", mod},
		[2]string{module + "@" + version + "/greeting.go", "package greeting\n\nconst Text = \"hello from go\"\n"},
	)
	mux := http.NewServeMux()
	serve := func(suffix, text string) {
		mux.HandleFunc("GET /"+module+"/@v/"+suffix, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	serve("list", version+"\n")
	serve(version+".info", `{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}`)
	serve(version+".mod", mod)
	serve(version+".zip", string(data))
	return mux
}

// crateRegistry serves the crate "greeting" by the sparse index of registries
// (https://doc.rust-lang.org/cargo/reference/registry-index.html).
func crateRegistry(t testing.TB) http.Handler {
	t.Helper()
	var crate bytes.Buffer
	zw := gzip.NewWriter(&crate)
	tw := tar.NewWriter(zw)
	for _, f := range [][2]string{
		{"greeting-1.0.0/Cargo.toml", "[package]\nname = \"greeting\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"},
		{"greeting-1.0.0/src/lib.rs", "pub const TEXT: &str = \"hello from cargo\";\n"},
	} {
		if err := tw.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /config.json", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"dl":"https://%s/crates"}`, r.Host)
	})
	mux.HandleFunc("GET /gr/ee/greeting", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"name":"greeting","vers":"1.0.0","deps":[],"cksum":"%x","features":{},"yanked":false}`+"\n", sha256.Sum256(crate.Bytes()))
	})
	mux.HandleFunc("GET /crates/greeting/1.0.0/download", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(crate.Bytes()) })
	return mux
}
