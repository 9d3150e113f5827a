package report

import (
	"context"
	"fmt"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestBrowser looks at the page as a browser shows it: its style is applied under its own
// policy, light and dark, at the width of a desk and of a phone. The pictures stay in
// AGENTJAIL_SCREENSHOTS, where that is set, to be looked at.
func TestBrowser(t *testing.T) {
	chromium := os.Getenv("AGENTJAIL_CHROMIUM")
	if chromium == "" {
		t.Skip("needs AGENTJAIL_CHROMIUM, the path of a headless chromium")
	}
	dir := os.Getenv("AGENTJAIL_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	page := filepath.Join(dir, "page.html")
	f, err := os.Create(page)
	if err != nil {
		t.Fatal(err)
	}
	if err := HTML(f, build(t, hostile), time.UTC); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// A window has a least width, which is more than a phone's; a frame has none.
	phone := filepath.Join(dir, "phone.html")
	if err := os.WriteFile(phone, []byte(`<!doctype html><body style="margin:0"><iframe src="page.html" width="390" height="4000" style="border:0"></iframe></body>`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, file, scheme string
		width              int
		want               color.NRGBA // --bg of page.css
	}{
		{"desk-light", page, "1", 1200, color.NRGBA{0xf6, 0xf7, 0xf9, 0xff}}, {"desk-dark", page, "0", 1200, color.NRGBA{0x14, 0x18, 0x1e, 0xff}},
		{"phone-light", phone, "1", 500, color.NRGBA{0xf6, 0xf7, 0xf9, 0xff}}, {"phone-dark", phone, "0", 500, color.NRGBA{0x14, 0x18, 0x1e, 0xff}},
	} {
		shot := filepath.Join(dir, tt.name+".png")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		// Without a sandbox of its own, which root and containers have no way to give it: it
		// shows our own page, which has no script.
		out, err := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files", "--user-data-dir="+t.TempDir(),
			"--blink-settings=preferredColorScheme="+tt.scheme, "--screenshot="+shot, fmt.Sprintf("--window-size=%d,4000", tt.width), "file://"+tt.file).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.name, err, out)
		}
		f, err := os.Open(shot)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := color.NRGBAModel.Convert(img.At(2, 2)); got != tt.want {
			t.Errorf("%s: the page's ground is %v, want %v: its style is not applied", tt.name, got, tt.want)
		}
	}
}
