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

// findChromium is AGENTJAIL_CHROMIUM, or one of the system's.
func findChromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("AGENTJAIL_CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("the host lacks chromium (make deps installs it in CI), to look at the page with")
	return ""
}

// TestBrowser looks at the page as a browser shows it: its style is applied under its own
// policy, light and dark, at the width of a desk and of a phone. The pictures stay in
// AGENTJAIL_SCREENSHOTS, where that is set, to be looked at.
func TestBrowser(t *testing.T) {
	chromium := findChromium(t)
	blank := filepath.Join(t.TempDir(), "blank.html")
	if err := os.WriteFile(blank, []byte("<!doctype html><p>x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := photograph(t, chromium, blank, filepath.Join(t.TempDir(), "blank.png"), "1", 500); err != nil {
		t.Skipf("%s shows no page at all here: %v", chromium, err)
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
		if os.Getenv("AGENTJAIL_SCREENSHOTS") == "" && (tt.name == "desk-dark" || tt.name == "phone-light") {
			continue // a browser's start takes seconds of a busy machine; each width and each scheme is seen
		}
		shot := filepath.Join(dir, tt.name+".png")
		if err := photograph(t, chromium, tt.file, shot, tt.scheme, tt.width); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
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

// photograph makes a picture of a page, of 4,000 lines. Without a sandbox of its own, which
// root and containers have no way to give a browser: it shows our own page, which has no
// script. A browser that ends in some other way than well is asked once more.
func photograph(t *testing.T, chromium, page, shot, scheme string, width int) (err error) {
	t.Helper()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--allow-file-access-from-files", "--user-data-dir="+t.TempDir(),
			"--blink-settings=preferredColorScheme="+scheme, "--screenshot="+shot, fmt.Sprintf("--window-size=%d,4000", width), "file://"+page)
		// What it leaves must not keep the test from its end.
		cmd.WaitDelay = 10 * time.Second
		var out []byte
		out, err = cmd.CombinedOutput()
		cancel()
		if err == nil {
			_, err = os.Stat(shot)
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%w: %s", err, out[max(0, len(out)-2000):])
	}
	return err
}
