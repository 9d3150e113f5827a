package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bench is what the parts share: who measures, where, and with which binary.
type bench struct {
	options
	folder    string // of this run, removed at the end
	runtime   string // the user's, removed too
	home      string
	project   string // an empty workspace, with cps in it
	profile   string
	agentjail string // our copy, that the ordinary user can run
	cps       string
	env       []string
	as        *syscall.SysProcAttr
	uid, gid  int
	servers   servers
}

// setUp makes the run's folder, programs, servers and profile.
func setUp(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, uid: os.Getuid(), gid: os.Getgid()}
	// Under /tmp whatever TMPDIR says: the ordinary user must be able to get there.
	if b.folder, err = os.MkdirTemp("/tmp", "agentjail-bench."); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := os.Chmod(b.folder, 0o755); err != nil {
		return nil, err
	}
	name := ""
	if b.uid == 0 {
		if name, err = b.ordinary(ctx); err != nil {
			return nil, err
		}
	} else {
		me, err := user.Current()
		if err != nil {
			return nil, err
		}
		name = me.Username
	}

	b.home = filepath.Join(b.folder, "home")
	b.project = filepath.Join(b.home, "project")
	// A session's runtime folder is a tmpfs (pam_systemd(8)), as this one is.
	if b.runtime, err = os.MkdirTemp("/dev/shm", "agentjail-bench."); err != nil {
		return nil, err
	}
	for _, folder := range []string{b.home, b.project} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return nil, err
		}
	}
	b.env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + b.home, "USER=" + name, "LOGNAME=" + name, "LANG=C.UTF-8",
		"XDG_RUNTIME_DIR=" + b.runtime,
	}

	b.agentjail = filepath.Join(b.folder, "agentjail")
	binary, err := os.ReadFile(o.agentjail)
	if err != nil {
		return nil, fmt.Errorf("%w\nhint: make build", err)
	}
	if err := writeCold(b.agentjail, binary); err != nil {
		return nil, err
	}
	// In the workspace, where the jail sees it at the same path. No cgo: it runs anywhere.
	b.cps = filepath.Join(b.project, "cps")
	if err := build(ctx, b.cps, []string{"CGO_ENABLED=0"}, "./testdata/bench/cps"); err != nil {
		return nil, err
	}
	for _, folder := range []string{b.home, b.runtime} {
		if err := b.own(folder); err != nil {
			return nil, err
		}
	}
	if b.servers, err = b.serve(ctx); err != nil {
		return nil, err
	}
	b.profile = filepath.Join(b.folder, "bench.hcl")
	return b, os.WriteFile(b.profile, []byte(b.profileText()), 0o644)
}

// writeCold writes a program and has the page cache forget it, so that it is read from disk
// as after a reboot. Of what is written in one piece the cache has large folios, all of which
// Linux 6.18 maps wherever a program touches a page of them (mm/filemap.c,
// filemap_map_pages): its RSS would tell how it came to be written.
func writeCold(path string, program []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(program); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("posix_fadvise %s: %w", path, err)
	}
	return f.Close()
}

// ordinary finds the user that root measures as.
func (b *bench) ordinary(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, ".ci/testuser").Output()
	if err != nil {
		return "", fmt.Errorf(".ci/testuser: %w\nhint: run it from the top of the checkout", err)
	}
	name := strings.TrimSpace(string(out))
	account, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	if b.uid, err = strconv.Atoi(account.Uid); err != nil {
		return "", err
	}
	if b.gid, err = strconv.Atoi(account.Gid); err != nil {
		return "", err
	}
	// Leaving uid 0 for good clears every capability (capabilities(7), "Effect of
	// user ID changes on capabilities").
	b.as = &syscall.SysProcAttr{Credential: &syscall.Credential{
		Uid: uint32(b.uid), Gid: uint32(b.gid), Groups: []uint32{uint32(b.gid)},
	}}
	return name, nil
}

// own gives a tree to the user who measures.
func (b *bench) own(folder string) error {
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, b.uid, b.gid)
	})
}

func (b *bench) close() {
	b.servers.stop()
	for _, folder := range []string{b.folder, b.runtime} {
		if err := os.RemoveAll(folder); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// command is a program that runs as the user who measures, in the project.
func (b *bench) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = b.env, b.project, b.as
	return cmd
}

// hangs is when a program that is measured is taken to hang: the longest takes a minute.
// A peer may wait for ever for what this host does not give it.
const hangs = 5 * time.Minute

// output runs such a program and returns what it printed. Its failure is said on
// stderr at once and in full, since the table has no room for it.
func (b *bench) output(ctx context.Context, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, hangs)
	defer cancel()
	cmd := b.command(ctx, argv...)
	cmd.WaitDelay = 10 * time.Second // for what it started and left with our pipes
	return finish(cmd)
}

func finish(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	out, err := cmd.Output()
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = strings.TrimSpace(string(out))
		}
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Args[0]), err, said)
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", strings.Join(cmd.Args, " "), err)
		return nil, err
	}
	return out, nil
}

// jailed is the command line that runs argv in the jail.
func (b *bench) jailed(workspace string, argv ...string) []string {
	return append([]string{b.agentjail, "run", "--profile", b.profile, "--workspace", workspace, "--"}, argv...)
}

// installed says which program is missing.
func installed(programs ...string) error {
	for _, program := range programs {
		if _, err := exec.LookPath(program); errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s: %w", program, errNotInstalled)
		} else if err != nil {
			return err
		}
	}
	return nil
}
