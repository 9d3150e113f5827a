package evidence

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// What an archive may cost its reader.
const (
	maxWindow   = 32 << 20 // zstd's window: memory
	maxManifest = 64 << 20
	maxUnpacked = 64 << 30 // bytes that are hashed
)

// Member is one member of an archive as it was found.
type Member struct {
	File
	Kind  string `json:"kind,omitempty"`  // of what is no regular file
	Wrong string `json:"wrong,omitempty"` // in what it differs from the manifest
}

// Listing is what an archive holds.
type Listing struct {
	Manifest Manifest `json:"manifest"`
	Members  []Member `json:"members"`
	Missing  []string `json:"missing"` // what the manifest has and the archive has not
}

// Whole says whether everything is as the manifest says.
func (l *Listing) Whole() bool {
	for _, m := range l.Members {
		if m.Wrong != "" {
			return false
		}
	}
	return len(l.Missing) == 0
}

// List reads an archive to its end and compares each member with the manifest. Nothing
// is written anywhere.
func List(r io.Reader) (*Listing, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return list(tar.NewReader(&limited{r: z, left: maxUnpacked}))
}

func list(t *tar.Reader) (*Listing, error) {
	l := &Listing{Members: []Member{}, Missing: []string{}}
	var manifest []byte
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(l.Members) >= maxMembers+1 {
			return nil, fmt.Errorf("the archive has more than %d members", maxMembers)
		}
		if manifest != nil {
			return nil, errors.New("the archive goes on behind its manifest")
		}
		if h.Name == ManifestName && h.Typeflag == tar.TypeReg {
			if h.Size > maxManifest {
				return nil, errors.New("the archive's manifest is too large")
			}
			if manifest, err = io.ReadAll(io.LimitReader(t, maxManifest)); err != nil {
				return nil, err
			}
			continue
		}
		m := Member{File: File{Name: h.Name, Size: h.Size}}
		if h.Typeflag != tar.TypeReg {
			m.Kind, m.Wrong = fmt.Sprintf("tar type %q", h.Typeflag), "it is no regular file"
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, t); err != nil {
			return nil, fmt.Errorf("%q: %w", h.Name, err)
		}
		m.SHA256 = hex.EncodeToString(sum.Sum(nil))
		l.Members = append(l.Members, m)
	}
	if manifest == nil {
		return nil, errors.New("the archive has no manifest at its end: it is not whole, or none of agentjail's")
	}
	if err := json.Unmarshal(manifest, &l.Manifest); err != nil {
		return nil, fmt.Errorf("the archive's manifest: %w", err)
	}
	if l.Manifest.Version != manifestVersion {
		return nil, fmt.Errorf("the archive's manifest is of version %d, this agentjail reads version %d", l.Manifest.Version, manifestVersion)
	}
	l.compare()
	return l, nil
}

// compare says of each member in what it differs. Names may be there twice.
func (l *Listing) compare() {
	said := map[string][]File{}
	for _, f := range l.Manifest.Files {
		said[f.Name] = append(said[f.Name], f)
	}
	for i := range l.Members {
		m := &l.Members[i]
		list := said[m.Name]
		if len(list) == 0 {
			if m.Wrong == "" {
				m.Wrong = "the manifest does not have it"
			}
			continue
		}
		f := list[0]
		said[m.Name] = list[1:]
		m.Masked = f.Masked
		if m.Wrong == "" && (f.Size != m.Size || f.SHA256 != m.SHA256) {
			m.Wrong = "its content is not what the manifest says"
		}
	}
	for _, f := range l.Manifest.Files {
		if rest := said[f.Name]; len(rest) > 0 {
			l.Missing = append(l.Missing, f.Name)
			said[f.Name] = rest[1:]
		}
	}
}

// limited is an error, and no end, where more is read than there may be.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the archive is too large when unpacked")
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
