package profiles

import (
	"bytes"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Render writes diagnostics with the lines that they are about. width wraps their
// text (0: not at all). Control characters in a file's lines are shown as "?": a
// profile is looked at before it is trusted, and its bytes go to a terminal.
func Render(w io.Writer, diags hcl.Diagnostics, files map[string]*hcl.File, width uint, color bool) error {
	shown := make(map[string]*hcl.File, len(files))
	for name, f := range files {
		shown[name] = &hcl.File{Bytes: withoutControls(f.Bytes), Nav: f.Nav}
	}
	return hcl.NewDiagnosticTextWriter(w, shown, width, color).WriteDiagnostics(diags)
}

// withoutControls keeps every byte's place, since diagnostics point at bytes. The C1
// controls are two bytes in UTF-8, 0xC2 and 0x80 to 0x9F.
func withoutControls(src []byte) []byte {
	b := bytes.Clone(src)
	for i, c := range b {
		c1 := c == 0xc2 && i+1 < len(b) && b[i+1] >= 0x80 && b[i+1] <= 0x9f
		switch {
		case c1:
			b[i], b[i+1] = '?', '?'
		case (c < ' ' && c != '\n' && c != '\t' && c != '\r') || c == 0x7f:
			b[i] = '?'
		}
	}
	return b
}

// Format gives a profile in native syntax its standard layout.
func Format(src []byte) []byte { return hclwrite.Format(src) }
