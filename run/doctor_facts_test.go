package run

import (
	"slices"
	"testing"
)

func TestReadMounts(t *testing.T) {
	const (
		root   = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
		proc   = "22 21 0:21 / /proc rw,nosuid - proc proc rw\n"
		binfmt = "30 22 0:30 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n"
		mask   = "31 22 0:31 / /proc/acpi ro,relatime - tmpfs tmpfs ro\n31 22 0:32 /null /proc/kcore rw shared:7 - tmpfs tmpfs rw\n"
	)
	for _, c := range []struct {
		name, mounts string
		chroot       bool
		masked       []string
	}{
		{"a host", root + proc + binfmt, false, nil},
		{"a container", root + proc + mask, false, []string{"/proc/acpi", "/proc/kcore"}},
		{"a chroot into a folder", proc, true, nil},
		{"lines of another kernel", "x\n\n1 2 3\n" + root, false, nil},
	} {
		chroot, masked := readMounts([]byte(c.mounts))
		if chroot != c.chroot || !slices.Equal(masked, c.masked) {
			t.Errorf("%s: got %v %v", c.name, chroot, masked)
		}
	}
}

func TestContainerKind(t *testing.T) {
	for _, c := range []struct {
		name  string
		env   map[string]string
		files map[string]string
		want  string
	}{
		{"a host", nil, nil, ""},
		{"docker", nil, map[string]string{"/.dockerenv": ""}, "docker"},
		{"podman", map[string]string{"container": "oci"}, map[string]string{"/run/.containerenv": "engine=podman\n"}, "podman"},
		{"lxc", nil, map[string]string{"/run/systemd/container": "lxc\n"}, "lxc"},
		{"nspawn", map[string]string{"container": "systemd-nspawn"}, nil, "systemd-nspawn"},
		{"a pod", map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, nil, "kubernetes"},
	} {
		got := containerKind(func(name string) string { return c.env[name] }, func(path string) ([]byte, bool) {
			data, ok := c.files[path]
			return []byte(data), ok
		})
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestStatusField(t *testing.T) {
	status := []byte("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n")
	if got := statusField(status, "Seccomp"); got != "2" {
		t.Errorf("Seccomp is %q", got)
	}
	if got := statusField(status, "NoNewPrivs"); got != "" {
		t.Errorf("what is not there is %q", got)
	}
}
