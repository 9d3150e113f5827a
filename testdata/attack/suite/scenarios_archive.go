package suite

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// An archive of a frozen run is opened by people, with tar, on the host: what a hostile
// agent has left in it must stay in it.

func archiveScenarios() []scenario {
	return []scenario{{attacks.Attack{ID: "archive", Line: 80, What: "be packed into an archive that writes outside, follows links out, has more than files, or the credential", Class: "CVE-2001-1267, CVE-2018-20685: an archive that does more than lie there",
		Stopped: []attacks.Stop{{Layer: attacks.Archive, Answers: []string{"ok"}}}}, archiveScenario}}
}

// archiveSecret is a profile's with a credential that the run knows of.
const archiveSecret = `
secret "agentjail_attack" {
  env    = "` + secretVariable + `"
  header = "x-api-key"
}
network {
  allow "archive.` + domain + `" { secret = secret.agentjail_attack }
}
`

func archiveScenario(s *scene, c *canaries) (string, error) {
	secret := newSecret()
	if err := s.writeProfile(c, s.profile(c.target, archiveSecret)); err != nil {
		return "", err
	}
	s.env = []string{secretVariable + "=" + secret}
	defer func() { s.env = nil }()
	half := len(secret) / 2
	order, err := json.Marshal(attacks.Hostile{Halves: [2]string{secret[:half], secret[half:]}, Key: c.target.Key, Dropbox: c.target.Dropbox})
	if err != nil {
		return "", err
	}
	const name = "hostile"
	l, w, err := s.beginTold(c, []string{"--name", name}, s.program, attacks.ArgHostile)
	if err != nil {
		return "", err
	}
	defer w.Close()
	if _, err = w.Write(append(order, '\n')); err == nil {
		err = l.until("the agent's readiness", func() bool { return strings.Contains(l.out.String(), "ready") })
	}
	var info liveInfo
	if err == nil {
		info, err = l.info(name)
	}
	if err == nil {
		_, err = s.order(c, "freeze", "--pack", "--memory", info.ID)
	}
	w.Close()
	if _, kerr := l.kill(info.ID); err == nil {
		err = kerr
	}
	if err != nil {
		if strings.Contains(err.Error(), "ptrace") {
			return "", mootError("this host freezes no run: " + err.Error())
		}
		return "", err
	}
	archive := filepath.Join(info.state, "frozen-1.tar.zst")
	if _, err := s.order(c, "inspect", archive); err != nil {
		return fmt.Sprintf("agentjail inspect does not take it: %v", err), nil
	}
	// As a person would open it.
	around := filepath.Join(c.dir, "around")
	if err := makeDir(around, 0o755); err != nil {
		return "", err
	}
	plain := filepath.Join(around, "archive.tar")
	if out, err := exec.Command("zstd", "-qd", archive, "-o", plain).CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		return "", mootError("the host has no zstd to open it with")
	} else if err != nil {
		return fmt.Sprintf("zstd does not open it: %v: %s", err, out), nil
	}
	return judgeArchive(plain, secret, c)
}

// judgeArchive looks at a tar file, and then at what plain tar makes of it in a folder
// beside it.
func judgeArchive(path, secret string, c *canaries) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	files := 0
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			return "", err
		case h.Typeflag != tar.TypeReg || h.Linkname != "":
			return fmt.Sprintf("the member %q is of type %q and leads to %q", h.Name, h.Typeflag, h.Linkname), nil
		case !filepath.IsLocal(h.Name):
			return fmt.Sprintf("the member %q is outside", h.Name), nil
		case h.Mode&^0o777 != 0:
			return fmt.Sprintf("the member %q has the mode %o", h.Name, h.Mode), nil
		}
		if strings.HasPrefix(h.Name, "files/") {
			files++
		}
	}
	if files == 0 {
		return "", errors.New("the archive has none of the agent's files")
	}
	into := filepath.Join(filepath.Dir(path), "into")
	if err := makeDir(into, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("tar", "-xf", path)
	cmd.Dir = into
	if out, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		return "", mootError("the host has no tar to open it with")
	} else if err != nil {
		return fmt.Sprintf("tar does not open it: %v: %s", err, out), nil
	}
	beside, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	if len(beside) != 2 {
		return fmt.Sprintf("beside the folder there is %v now", beside), nil
	}
	if list := c.changed(); len(list) > 0 {
		return "opening it changed " + strings.Join(list, ", "), nil
	}
	found, seen := "", false
	err = filepath.WalkDir(into, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || found != "" {
			return err
		}
		if !d.Type().IsRegular() {
			found = fmt.Sprintf("%q is no file: %v", path, d.Type())
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen = seen || strings.Contains(string(data), "key=****")
		inside, _ := filepath.Rel(into, path)
		switch {
		case strings.Contains(path, secret), strings.Contains(string(data), secret):
			found = fmt.Sprintf("%q has the credential", inside)
		// Memory has whatever the agent knows of by itself.
		case strings.HasPrefix(inside, "files/") && strings.Contains(string(data), "a private key"):
			found = fmt.Sprintf("%q is the host's key", inside)
		}
		return nil
	})
	if err == nil && found == "" && !seen {
		err = errors.New("the place where the credential was is not in the archive, so that nothing is shown by its absence")
	}
	return found, err
}
