package run_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// listing describes a tree: kind, execute bit and content of each file, as much as a
// patch of git's can carry. Folders count by what is in them.
func listing(root string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			fmt.Fprintf(&b, "%q -> %q\n", rel, target)
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%q x=%v %x\n", rel, info.Mode()&0o100 != 0, sha256.Sum256(data))
		return err
	})
	return b.String(), err
}

// filesMain prints the listing of the working folder.
func filesMain([]string) int {
	text, err := listing(".")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Print(text)
	return 0
}

func mustList(t *testing.T, root string) string {
	t.Helper()
	text, err := listing(root)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fill puts a small project into the workspace.
func fill(t *testing.T, c *caller) {
	t.Helper()
	for name, text := range map[string]string{
		"modified": "one\ntwo\nthree\n", "deleted": "gone\n", "renamed": "content that is renamed\n", "chmodded": "#!/bin/sh\n",
		"folder/inside": "a\n", "folder/deep/er": "b\n", "moved/one": "1\n", "moved/two": "2\n", "linked": "hard\n",
		"binary": "\x00\x01\x02\xff", "replaced": "a file\n", "kept/untouched": "same\n", "spaced name": "x\n",
	} {
		c.write(name, text)
	}
	if err := os.Symlink("kept/untouched", filepath.Join(c.workspace, "symlink")); err != nil {
		t.Fatal(err)
	}
}

const edits = `set -e
	echo four >>modified; rm deleted; mv renamed newname; chmod +x chmodded
	rm -r folder; mv moved elsewhere; ln linked hard2; echo more >>linked
	printf '\000\001\377\376' >binary; rm replaced; mkdir replaced; echo in >replaced/file
	ln -sfn modified symlink; ln -s /etc/passwd out; mkdir -p new/tree; echo deep >new/tree/file
	mv "spaced name" "another name"; : >empty`

// TestJailOverlay: the host's files stay, and the patch makes the same of a copy.
func TestJailOverlay(t *testing.T) {
	for _, upper := range []string{"memory", "disk"} {
		t.Run("upper "+upper, func(t *testing.T) {
			git := needTool(t, "git")
			c := newCaller(t, execSelf(t)+fmt.Sprintf("workspace {\n upper = %q\n}\n", upper))
			fill(t, c)
			before := mustList(t, c.workspace)
			o := c.run("sh", "-c", edits+"\n\"$0\" \"$1\" files", self(t), helperArg)
			if strings.Contains(o.stderr, "tmpfs can't hold") {
				t.Skip("the host lacks user.* attributes on tmpfs (Linux 6.6)")
			}
			o.wantCode(0)
			if after := mustList(t, c.workspace); after != before {
				t.Errorf("the host's workspace changed from\n%sto\n%s", before, after)
			}
			copied := filepath.Join(c.dir, "copy")
			apply := exec.Command("sh", "-c", `cp -a "$1" "$2" && cd "$2" && "$3" apply --whitespace=nowarn "$4"`, "sh",
				c.workspace, copied, git, filepath.Join(o.status.State, "changes.patch"))
			apply.Env = c.env
			if out, err := apply.CombinedOutput(); err != nil {
				t.Fatalf("git apply: %v: %s", err, out)
			}
			if got := mustList(t, copied); got != o.stdout {
				t.Errorf("with the patch the copy is\n%sthe jail saw\n%s", got, o.stdout)
			}
			if o.status.Changes < 15 {
				t.Errorf("the run counts %d changes", o.status.Changes)
			}
			if _, err := os.Lstat(filepath.Join(o.status.State, "upper")); err == nil {
				t.Error("the upper layer is left on the disk")
			}
		})
	}
}

// TestJailOverlayIsBounded: the upper layer's size is the disk quota.
func TestJailOverlayIsBounded(t *testing.T) {
	for _, upper := range []string{"memory", "disk"} {
		t.Run("upper "+upper, func(t *testing.T) {
			c := newCaller(t, fmt.Sprintf("workspace {\n upper = %q\n size = \"8MiB\"\n}\n", upper))
			o := c.run("sh", "-c", "head -c 4000000 /dev/zero >small && echo small; head -c 100000000 /dev/zero >large && echo large && sleep 30")
			if strings.Contains(o.stderr, "tmpfs can't hold") {
				t.Skip("the host lacks user.* attributes on tmpfs (Linux 6.6)")
			}
			// On disk it is watched, not limited: the run is ended.
			if !strings.HasPrefix(o.stdout, "small\n") || upper == "memory" && o.stdout != "small\n" || upper == "disk" && o.code == 0 {
				t.Errorf("exit code %d, stdout %q, stderr %s", o.code, o.stdout, o.stderr)
			}
		})
	}
}

func TestJailHide(t *testing.T) {
	c := newCaller(t, "workspace {\n hide = [\".env\", \"secrets/**\", \"**/*.pem\"]\n}\n")
	hidden := []string{".env", "secrets/a", "secrets/b/c", "deep/down/key.pem"}
	for _, name := range append(hidden, "shown", "deep/down/shown") {
		c.write(name, "text\n")
	}
	o := c.must("sh", "-c", `for f in .env secrets/a secrets/b/c deep/down/key.pem; do cat $f 2>/dev/null && echo shown: $f; done
		find . -type f | sort; echo mine >.env; cat .env`)
	if o.stdout != "./deep/down/shown\n./shown\nmine\n" {
		t.Errorf("the agent saw:\n%s", o.stdout)
	}
	patch, err := os.ReadFile(filepath.Join(o.status.State, "changes.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range hidden[1:] {
		if strings.Contains(string(patch), name) {
			t.Errorf("what is hidden is listed as changed: %s", name)
		}
	}
}

// TestJailHideWithoutOverlay: where the workspace is the host's own, what is hidden has
// a mask over it, whatever the agent does around it, and the host keeps it.
func TestJailHideWithoutOverlay(t *testing.T) {
	for _, mode := range []string{"direct", "readonly"} {
		t.Run(mode, func(t *testing.T) {
			c := newCaller(t, "")
			c.setProfile(fmt.Sprintf("workspace {\n mode = %q\n hide = [\".env\", \"secrets/**\", \"**/*.pem\"]\n}\nfiles {\n home \".conf\" {\n from = %q\n mode = \"copy\"\n}\n}\n", mode, c.workspace))
			hidden := []string{".env", "secrets/a", "secrets/b/c", "deep/down/key.pem"}
			for _, name := range append(hidden, "shown", "deep/down/shown") {
				c.write(name, "text of "+name+"\n")
			}
			if err := os.Symlink("deep/down/key.pem", filepath.Join(c.workspace, "link.pem")); err != nil {
				t.Fatal(err)
			}
			o := c.must("sh", "-c", `cat shown; for f in .env secrets/a secrets/b/c deep/down/key.pem link.pem; do cat $f 2>/dev/null; ln $f other 2>/dev/null && cat other; rm -f $f 2>/dev/null; echo x 2>/dev/null >>$f; done
				mv deep moved 2>/dev/null; cat moved/down/key.pem 2>/dev/null; mv secrets open 2>/dev/null; cat open/a 2>/dev/null; grep -rs 'text of' ~ | grep -v shown; true`)
			if o.stdout != "text of shown\n" {
				t.Errorf("the agent saw:\n%s", o.stdout)
			}
			for _, name := range hidden {
				was := false
				for _, at := range []string{name, strings.Replace(strings.Replace(name, "deep", "moved", 1), "secrets", "open", 1)} {
					data, err := os.ReadFile(filepath.Join(c.workspace, at))
					was = was || err == nil && string(data) == "text of "+name+"\n"
				}
				if !was {
					t.Errorf("the host has lost %s", name)
				}
			}
		})
	}
}

func TestJailWorkspaceModes(t *testing.T) {
	mode := func(m string) string { return fmt.Sprintf("workspace {\n mode = %q\n}\n", m) }
	t.Run("direct", func(t *testing.T) {
		c := newCaller(t, mode("direct"))
		c.write("file", "old\n")
		c.must("sh", "-c", "echo new >file; mkdir made; echo x >made/x; ls -ln file | cut -d' ' -f3")
		if got := mustList(t, c.workspace); !strings.Contains(got, `"made/x"`) {
			t.Errorf("the host's workspace has\n%s", got)
		}
		info, err := os.Lstat(filepath.Join(c.workspace, "made", "x"))
		if err != nil {
			t.Fatal(err)
		}
		// In root mode the jail's user is another one, and the file is still ours.
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != os.Getuid() {
			t.Errorf("the agent's file belongs to uid %d, want %d", st.Uid, os.Getuid())
		}
	})
	t.Run("readonly", func(t *testing.T) {
		c := newCaller(t, mode("readonly"))
		c.write("file", "old\n")
		o := c.must("sh", "-c", "cat file; (echo new >file) 2>/dev/null && echo written; touch new 2>/dev/null && echo made; rm -f file 2>/dev/null && echo removed; true")
		if o.stdout != "old\n" {
			t.Errorf("the agent could: %q", o.stdout)
		}
	})
	t.Run("empty", func(t *testing.T) {
		c := newCaller(t, mode("empty"))
		c.write("file", "old\n")
		o := c.must("sh", "-c", "ls -A; pwd; echo new >made")
		if o.stdout != c.workspace+"\n" {
			t.Errorf("the agent saw %q", o.stdout)
		}
		if got := mustList(t, c.workspace); strings.Contains(got, "made") || o.status.Changes != 1 {
			t.Errorf("%d changes; the host's workspace has\n%s", o.status.Changes, got)
		}
	})
}

// TestJailWorkspaceNames: what separates an overlay's options, and a shell's words.
func TestJailWorkspaceNames(t *testing.T) {
	for _, name := range []string{"with space", "colon:inside", "comma,inside", `back\slash`, `a "quote" and 'another'`, "Ünïcode", "-dash", "$HOME", "tab-less*?[x]"} {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, "")
			c.workspace = filepath.Join(c.dir, name)
			if err := os.Mkdir(c.workspace, 0o755); err != nil {
				t.Fatal(err)
			}
			c.write("file", "lower\n")
			o := c.must("sh", "-c", "pwd; cat file; echo upper >file; cat file")
			if o.stdout != c.workspace+"\nlower\nupper\n" || o.status.Changes != 1 {
				t.Errorf("%d changes, stdout %q", o.status.Changes, o.stdout)
			}
		})
	}
}

// TestJailForeignOwners: files of users and groups that have no id in the jail can't
// be copied up by an overlay (EOVERFLOW). With Facts.Scan's copies left out, rootless:
// "Value too large for defined data type".
func TestJailForeignOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to make a file of a foreign group")
	}
	t.Run("root", func(t *testing.T) {
		c := newCaller(t, "")
		for i, owner := range [][2]int{{0, 0}, {1000, 1000}, {4711, 50}, {70000, 70001}} {
			if err := os.Chown(c.write(strconv.Itoa(i), "old\n"), owner[0], owner[1]); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(c.workspace, strconv.Itoa(i)), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		o := c.must("sh", "-c", "for f in 0 1 2 3; do echo new >>$f && cat $f; done")
		if o.stdout != strings.Repeat("old\nnew\n", 4) {
			t.Errorf("stdout %q, stderr %s", o.stdout, o.stderr)
		}
	})
	t.Run("rootless", func(t *testing.T) {
		ordinary, err := user.Lookup("agentjail-test")
		if err != nil {
			t.Skip("the host lacks the user agentjail-test (.ci/testuser makes it)")
		}
		uid, _ := strconv.Atoi(ordinary.Uid)
		gid, _ := strconv.Atoi(ordinary.Gid)
		c := newCaller(t, "")
		// The user must get to it, and root's temporary folder may be closed.
		dir, err := os.MkdirTemp("/tmp", "agentjail-foreign-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		c.dir, c.workspace, c.home = dir, filepath.Join(dir, "work"), filepath.Join(dir, "home")
		for _, d := range []string{c.workspace, c.home, filepath.Join(dir, "run")} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		c.setProfile("")
		c.write("folder/file", "old\n")
		c.write("mine", "old\n")
		if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		}); err != nil {
			t.Fatal(err)
		}
		// Of the user, but of a group that is not mapped: as after `chgrp www-data`.
		for _, name := range []string{"folder", "folder/file"} {
			if err := os.Chown(filepath.Join(c.workspace, name), uid, 0); err != nil {
				t.Fatal(err)
			}
		}
		cmd := c.command(t.Context(), []string{"--quiet"}, "sh", "-c", "echo new >>folder/file && cat folder/file; echo x >folder/new; rm folder/new; echo new >>mine; cat mine; mv folder moved; cat moved/file")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.home, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run")}
		// The binary, too, may lie in a folder of root's.
		program, err := os.ReadFile(binary(t))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path = filepath.Join(dir, "agentjail")
		if err := os.WriteFile(cmd.Path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "old\nnew\nold\nnew\nold\nnew\n" {
			t.Errorf("%v %q", err, out)
		}
	})
}

func TestJailArtifacts(t *testing.T) {
	c := newCaller(t, "artifacts {\n collect = [\"dist/**\", \"*.log\"]\n}\n")
	into := filepath.Join(c.dir, "out")
	o := c.runWith([]string{"--artifacts", into}, "sh", "-c", "mkdir -p dist/sub; echo a >dist/a; echo b >dist/sub/b; echo log >run.log; echo no >other; ln -s /etc/passwd dist/link; mkfifo dist/fifo")
	o.wantCode(0)
	for name, want := range map[string]string{"dist/a": "a\n", "dist/sub/b": "b\n", "run.log": "log\n"} {
		if data, err := os.ReadFile(filepath.Join(into, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	for _, name := range []string{"other", "dist/fifo"} {
		if _, err := os.Lstat(filepath.Join(into, name)); err == nil {
			t.Errorf("%s was collected", name)
		}
	}
	if info, err := os.Stat(filepath.Join(into, "dist", "link")); err == nil && info.Mode().IsRegular() {
		t.Error("a link out of the workspace leads to the host's file")
	}
	for _, name := range []string{"changes.patch", "changes.json", "manifest.json"} {
		if _, err := os.Stat(filepath.Join(into, name)); err != nil {
			t.Error(err)
		}
	}
}
