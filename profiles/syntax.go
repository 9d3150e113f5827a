package profiles

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
)

// CheckSyntax says whether a file can be read as a profile at all: what a formatter
// must know before it writes one back. What the file's words mean is Load's to say.
func CheckSyntax(src []byte, path string) (hcl.Diagnostics, map[string]*hcl.File) {
	l := &loader{parsed: map[string]*hcl.File{}}
	l.parse(&file{name: filepath.Base(path), path: path, src: src})
	return l.diags, l.parsed
}
