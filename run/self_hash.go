package run

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hashFile keeps this binary's hash, with what tells that it is still this binary.
const hashFile = "binary.sha256"

// selfHash is the SHA-256 of this binary; "" where it can't be read. 17 MB take 10
// ms, so it is kept beside the runs for as long as the file's inode, size and times
// are the same; a change of content changes ctime, which nobody can set.
func selfHash(state string) string {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return ""
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	id := fmt.Sprintf("%d:%d:%d:%d:%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	path := filepath.Join(state, hashFile)
	if kept, err := os.ReadFile(path); err == nil {
		sum, ok := strings.CutPrefix(string(kept), id+" ")
		if sum, check, found := strings.Cut(sum, " "); ok && found && check == hashCheck(id, sum) {
			return sum
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	sum := hex.EncodeToString(h.Sum(nil))
	// Only the time is lost if it can't be kept.
	if tmp, err := os.CreateTemp(state, "."+hashFile); err == nil {
		_, werr := tmp.WriteString(id + " " + sum + " " + hashCheck(id, sum))
		if cerr := tmp.Close(); werr != nil || cerr != nil || os.Rename(tmp.Name(), path) != nil {
			os.Remove(tmp.Name())
		}
	}
	return sum
}

// hashCheck tells a kept hash from one that a power cut or a broken disk made. It
// keeps nobody from writing another: the folder is the caller's own.
func hashCheck(id, sum string) string {
	check := sha256.Sum256([]byte(id + " " + sum))
	return hex.EncodeToString(check[:8])
}
