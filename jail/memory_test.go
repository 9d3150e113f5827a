package jail

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// child starts a shell that waits, and gives the address of its argument vector.
func child(t *testing.T, args ...string) (pid int, argv uint64) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", "echo ready; read line"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// startstack, field 28 (proc_pid_stat(5)): argc lies there, the vector behind it.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	stack, err := strconv.ParseUint(fields[28-3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, stack + 8
}

func TestReadArgv(t *testing.T) {
	many := make([]string, maxArgs+50)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	long := strings.Repeat("x", 3*maxArgBytes)
	prefix := []string{"/bin/sh", "-c", "echo ready; read line"}
	for _, tt := range []struct {
		name string
		args []string
		want []string
		cut  bool
	}{
		{"none", nil, nil, false},
		{"some", []string{"", "a b", "new\nline", "\xff\xfe", "last"}, []string{"", "a b", "new\nline", "\xff\xfe", "last"}, false},
		{"too many", many, many[:maxArgs-len(prefix)], true},
		{"too long", []string{"first", long, "never"}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pid, addr := child(t, tt.args...)
			got, cut, total := readArgv(pid, addr)
			if len(got) < 3 || !slices.Equal(got[:3], prefix) {
				t.Skipf("the host lacks process_vm_readv, or its stack is laid out in another way: %.200q", got)
			}
			if total > maxArgBytes || len(got) > maxArgs || (cut > 0) != tt.cut {
				t.Errorf("%d arguments of %d bytes, %d cut", len(got), total, cut)
			}
			if tt.name == "too long" {
				if got[3] != "first" || len(got[4]) == 0 || !strings.HasPrefix(long, got[4]) || cut != 1 {
					t.Errorf("%d bytes were kept, %d cut", len(got[4]), cut)
				}
				return
			}
			if !slices.Equal(got[3:], tt.want) {
				t.Errorf("got %q, want %q", got[3:], tt.want)
			}
		})
	}
}

// TestReadHostileMemory: addresses come from the jail.
func TestReadHostileMemory(t *testing.T) {
	pid, _ := child(t)
	for _, addr := range []uint64{0, 1, 8, 1 << 20, 1<<47 - 1, 1<<47 - 8, 1 << 63, ^uint64(0), ^uint64(0) - 7} {
		if argv, cut, total := readArgv(pid, addr); len(argv) != 0 || total != 0 || cut != 0 {
			t.Errorf("at %#x: %q, %d cut", addr, argv, cut)
		}
		if s := readString(pid, addr, maxPath); s != "" {
			t.Errorf("at %#x: %q", addr, s)
		}
	}
	if argv, _, _ := readArgv(1<<30, 4096); len(argv) != 0 {
		t.Errorf("of no process: %q", argv)
	}
}

func TestLastField(t *testing.T) {
	const status = "Name:\tNSpid: 9\nNStgid:\t4711\t12\nPPid:\t300\nEmpty:\nWord:\tx\n"
	for key, want := range map[string]int{"\nNStgid:": 12, "\nPPid:": 300, "\nEmpty:": 0, "\nWord:": 0, "\nNSpid:": 0, "\nMissing:": 0} {
		if got := lastField([]byte(status), key); got != want {
			t.Errorf("lastField(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestExistsInside(t *testing.T) {
	dir := tree(t, "work/file", "work/abs -> /etc/passwd", "work/gone -> nowhere")
	c, err := newCallerView("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, tt := range []struct {
		path string
		want bool
	}{
		{"file", true}, {"./file", true}, {"abs", true}, {"missing", false}, {"missing/below", false}, {"file/below", false},
		{"/bin/sh", true}, {"/no/such/program", false}, {"../work/file", true},
		// A link that leads nowhere for us may lead somewhere for the caller: /proc/self is
		// another one for each reader. So may whatever is below /proc.
		{"gone", true}, {"gone/below", true}, {"/proc/missing", true}, {"//usr/../proc/missing/fd/3", true},
	} {
		file, got := c.exists(dir+"/work", -100, tt.path) // AT_FDCWD
		if got != tt.want {
			t.Errorf("exists(%q) = %v, want %v", tt.path, got, tt.want)
		}
		if file != nil {
			file.Close()
		}
	}
}
