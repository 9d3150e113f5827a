package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// job is something that agents do.
type job struct {
	what         string
	folder       string
	warmup, runs int
	argv         []string
	err          error // why it can't be measured
}

// benchWork measures what agents spend their time on, outside and inside. It is
// timed by the same hyperfine in both places, so that the jail's start is not in it.
func benchWork(ctx context.Context, b *bench) ([]comparison, error) {
	if err := installed("hyperfine", "git"); err != nil {
		return nil, err
	}
	repository, err := b.repository(ctx)
	if err != nil {
		return nil, err
	}
	module, err := b.module()
	if err != nil {
		return nil, err
	}
	goTool, err := goProgram()
	if err != nil {
		return nil, err
	}
	jobs := []job{
		// -a compiles the standard library too and leaves the cache's state out of it.
		{"go build -a", module, 0, 1, []string{"env", "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false",
			goTool, "build", "-a", "-o", "/dev/null", "."}, nil},
		// The warm-up takes what an overlay costs once: git reads every file again
		// when the index has other inode numbers, and writes a new index.
		{fmt.Sprintf("git status, %d files", b.files), repository, 2, 5, []string{"git", "status", "--porcelain"}, nil},
		// One lstat a file, and nothing that reads one.
		{fmt.Sprintf("find -size, %d files", b.files), repository, 1, 5, []string{"find", repository, "-size", "+1000k"}, nil},
	}
	// Inside, what is written goes to the overlay's memory: the first run takes the
	// old tree away, and writes whiteouts for it that a new workspace would not have.
	installs, ci, npmErr := b.packages(ctx)
	jobs = append(jobs, job{"npm ci, 160 packages, no network", installs, 1, 2, ci, npmErr})
	var table []comparison
	for _, job := range jobs {
		inside, outside := &sample{name: "inside", err: job.err}, &sample{name: "outside", err: job.err}
		script := fmt.Sprintf("cd %s && %s >/dev/null && cat /tmp/agentjail-bench.$$ && rm /tmp/agentjail-bench.$$",
			quote(job.folder), shell(hyperfineArgs(job.warmup, job.runs, "/tmp/agentjail-bench.$$", job.argv)))
		for range b.rounds {
			for _, side := range []struct {
				sample *sample
				argv   []string
			}{
				{outside, []string{"sh", "-c", script}},
				{inside, b.jailed(job.folder, "sh", "-c", script)},
			} {
				if side.sample.err != nil {
					continue
				}
				out, err := b.output(ctx, side.argv...)
				if err != nil {
					side.sample.add(nil, err)
					continue
				}
				side.sample.add(hyperfineTimes(out))
			}
		}
		table = append(table, comparison{job.what, seconds, inside, outside, target{atMost: 1.03}})
	}
	return table, nil
}

// shell is a command line of argv in which $$ alone is the shell's to expand.
func shell(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = quote(word)
		if strings.HasSuffix(word, "$$") {
			words[i] = quote(strings.TrimSuffix(word, "$$")) + "$$"
		}
	}
	return strings.Join(words, " ")
}

// repository makes a git repository of many small files, the same ones every time.
func (b *bench) repository(ctx context.Context) (string, error) {
	root := filepath.Join(b.home, "repository")
	for i := range b.files {
		folder := filepath.Join(root, fmt.Sprintf("d%03d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return "", err
			}
		}
		text := strings.Repeat(fmt.Sprintf("line of file %d\n", i), 1+i%100)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%d.txt", i)), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	if err := b.own(root); err != nil {
		return "", err
	}
	for _, argv := range [][]string{
		{"git", "init", "-q", root},
		{"git", "-C", root, "add", "."},
		{"git", "-C", root, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0", "commit", "-q", "-m", "bench"},
	} {
		if _, err := b.output(ctx, argv...); err != nil {
			return "", err
		}
	}
	return root, nil
}

// module makes a program that needs nothing but the standard library.
func (b *bench) module() (string, error) {
	root := filepath.Join(b.home, "module")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", err
	}
	for name, text := range map[string]string{
		"go.mod": "module bench\n\ngo 1.21\n",
		"main.go": "package main\n\nimport (\n\t\"encoding/json\"\n\t\"os\"\n)\n\n" +
			"func main() { json.NewEncoder(os.Stdout).Encode(os.Args) }\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return root, b.own(root)
}

// goProgram is the absolute path of go with its symlinks resolved, as the jail's
// profile names its folder.
func goProgram() (string, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}
