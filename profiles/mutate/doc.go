// Package mutate takes single layers out of agentjail, in builds for tests alone: with
// the build tag "mutate", the variable AGENTJAIL_MUTATE names the layers that are off.
// The attack suite's own test builds one, to see each layer's attacks escape without it.
//
// Without the tag Off is a constant: the compiler leaves out what depends on it, and
// neither the variable nor the layers' names are in the program. A test of package suite
// looks for them.
//
// It imports nothing, so that every package may ask it.
package mutate

// Layer is one that can be switched off.
type Layer int

// The layers. What each switch does is said where it is asked for.
const (
	Landlock    Layer = iota
	Seccomp           // the whole filter but for the notification of execs
	ForeignABI        // calls by int 0x80 and x32 are allowed
	Ioctl             // TIOCSTI and TIOCLINUX
	Sockets           // families and protocols
	Namespaces        // unshare, setns, clone flags, and mounts
	Calls             // everything else that the filter refuses
	InnerUser         // the agent's own user namespace
	Caps              // the drop of the agent's capabilities
	NoNewPrivs        //
	Masks             // over /proc
	ReadOnly          // binds, and parts of /proc
	HidePID           //
	HostTree          // the host's tree stays mounted in the jail
	Denied            // masks over what the profile denies
	Overlay           // the workspace is the host's own
	HostSockets       // sockets of the host in granted folders
	NetNS             // the jail has the caller's network
	IPCNS             //
	Environment       // the caller's variables
	Descriptors       // what was inherited
	Exec              // the notification of execs
	SNI               //
	Host              // HTTP's Host and request line
	Respelling        // of Host, in what goes to the host
	Framing           // HTTP/1's one reading
	Requests          // request rules and paths
	Addresses         // checked when dialled
	Placeholder       // the agent is given the real credential
	Binding           // credentials go to any host and into any header
	Masking           // of credentials that are sent back
	Asking            // what a person would have to allow is allowed
	ControlPeer       // the pid namespace of whoever connects to the control socket is not looked at
	Cgroup            // limits of memory, cpus and processes
	Rlimits           // of open files, and of processes where there is no cgroup
	Disk              // the size and the number of files of what the agent writes
	ExecRules         // refusals by the rules about programs
	FileLimits        // refusals by the limits of what is done with files
	NetDeny           // what the profile denies of the network
	Spelling          // the one spelling of a host's name
	Ceiling           // of the machine
	Seeds             // of the home folder: they are the host's own
	SeedLinks         // in seeds are copied as what they lead to
	Redact            // credentials in the copies of settings
	FileWatch         // nobody sees changes of files as they happen
	Naming            // names that the agent gives in a direct workspace are not judged
	Early             // folders of a direct workspace that are missing are not held
	Terminal          // what the agent writes to the caller's terminal is not filtered
	layers
)
