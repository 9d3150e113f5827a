package audit

import "time"

// A Record is something that happened, in the product's own words. It is plain
// data that survives JSON, so that the gateway's process can report it to the
// supervisor; the writer alone turns it into an OCSF event.
type Record interface{ record() }

// Sink takes records. Emit never blocks on the disk and never fails towards its
// caller: a trail that can't be written ends the run by another way (Writer.Err).
type Sink interface{ Emit(Record) }

// Outcome says what was done about an attempt.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Blocked Outcome = "blocked" // a policy refused it
	Failed  Outcome = "failed"  // allowed, but it did not work
)

// Process names a program in the jail as far as it is known.
type Process struct {
	PID    int      `json:"pid,omitempty"` // in the jail's pid namespace
	Parent int      `json:"ppid,omitempty"`
	Name   string   `json:"name,omitempty"`
	Path   string   `json:"path,omitempty"`
	Argv   []string `json:"argv,omitempty"`
	Cwd    string   `json:"cwd,omitempty"`
}

// Layer is one layer of the jail as it was found in force.
type Layer struct {
	Name   string `json:"name"`            // "landlock", "seccomp", "userns" ...
	State  string `json:"state"`           // "enforced", "degraded", "off"
	Detail string `json:"detail"`          // "ABI 7, every right that the kernel has"
	Probe  string `json:"probe,omitempty"` // how it was made sure of
}

// RunStart is the first record of a trail.
type RunStart struct {
	RunID         string            `json:"run_id"`
	Name          string            `json:"name,omitempty"`
	Argv          []string          `json:"argv"`
	Cwd           string            `json:"cwd"`
	Workspace     string            `json:"workspace"`
	WorkspaceMode string            `json:"workspace_mode"`
	Profile       string            `json:"profile"`
	ProfileHashes map[string]string `json:"profile_hashes"` // file name to SHA-256
	BinaryHash    string            `json:"binary_hash"`
	Version       string            `json:"version"`
	Kernel        string            `json:"kernel"`
	Mode          string            `json:"mode"` // "root" or "rootless"
	Caller        string            `json:"caller"`
	Layers        []Layer           `json:"layers"`
	Limits        map[string]string `json:"limits"`
	Syscalls      []string          `json:"syscalls,omitempty"` // opened by the profile
	Learning      bool              `json:"learning,omitempty"` // what the jail refuses is noted, to be learned from
}

// RunEnd is the last record of a trail.
type RunEnd struct {
	ExitCode int               `json:"exit_code"`
	Signal   string            `json:"signal,omitempty"`
	Reason   string            `json:"reason"` // "exited", "signal", "time limit", "failed to start" ...
	Duration time.Duration     `json:"duration"`
	UserCPU  time.Duration     `json:"user_cpu"`
	SysCPU   time.Duration     `json:"sys_cpu"`
	MaxRSS   int64             `json:"max_rss"` // bytes, of the largest process
	Counts   map[string]int64  `json:"counts"`  // "exec", "connect", "connect_blocked", "dns_blocked", "file" ...
	Details  map[string]string `json:"details,omitempty"`
	Budgets  []BudgetUse       `json:"budgets,omitempty"`
}

// BudgetUse is what is spent of one limit of a budget when a run ends, by all runs that
// the limit is about.
type BudgetUse struct {
	Name  string `json:"name"`
	Limit string `json:"limit"` // "per_run", "per_day" ...
	Unit  string `json:"unit,omitempty"`
	Spent int64  `json:"spent"` // millionths of the unit
	Of    int64  `json:"of"`    // the same
}

// Wipe says what was removed after a run and what was checked to be gone.
type Wipe struct {
	Removed []string `json:"removed"`
	Gone    []string `json:"gone"`
	Left    []string `json:"left,omitempty"` // what could not be removed, with the reason
}

// Exec is a program launch.
type Exec struct {
	Process  Process `json:"process"` // the new program; Name is its file's base name
	Outcome  Outcome `json:"outcome"`
	Rule     string  `json:"rule,omitempty"`
	Reason   string  `json:"reason,omitempty"`
	ArgsCut  int     `json:"args_cut,omitempty"` // arguments left out
	ArgBytes int     `json:"arg_bytes,omitempty"`
	Own      bool    `json:"own,omitempty"` // the agent wrote the program, or could have
	Memory   bool    `json:"-"`             // it is a file in memory, without a name
	Quota    bool    `json:"-"`             // refused because a limit of the profile's was reached
}

// Exit is the end of a process that the jail's PID 1 or the supervisor saw end.
type Exit struct {
	Process  Process       `json:"process"`
	ExitCode int           `json:"exit_code"`
	Signal   string        `json:"signal,omitempty"`
	UserCPU  time.Duration `json:"user_cpu"`
	SysCPU   time.Duration `json:"sys_cpu"`
	MaxRSS   int64         `json:"max_rss"`
}

// Inbound is the direction of a connection that the host made to the jail.
const Inbound = "inbound"

// Connect is a connection that was opened or refused.
type Connect struct {
	ID       uint64  `json:"id,omitempty"` // joins with ConnectClosed; 0 for a refused one
	Network  string  `json:"network"`      // "tcp", "udp", "icmp", "ip-proto-132"
	Name     string  `json:"name,omitempty"`
	Addr     string  `json:"addr"`               // the address that the agent dialled
	Port     uint16  `json:"port"`               //
	SrcPort  uint16  `json:"src_port,omitempty"` // in the jail
	Dialled  string  `json:"dialled,omitempty"`  // the host's side: the address that was dialled, or the proxy
	Protocol string  `json:"protocol,omitempty"` // "tls", "http" ...
	SNI      string  `json:"sni,omitempty"`
	Outcome  Outcome `json:"outcome"`
	Rule     string  `json:"rule,omitempty"`
	Reason   string  `json:"reason,omitempty"`
	Process  Process `json:"process"`

	Direction string `json:"direction,omitempty"` // Inbound, or out of the jail
}

// ConnectClosed is the end of an allowed connection.
type ConnectClosed struct {
	ID       uint64        `json:"id"`
	Name     string        `json:"name,omitempty"`
	Addr     string        `json:"addr"`
	Port     uint16        `json:"port"`
	BytesOut int64         `json:"bytes_out"` // from the jail
	BytesIn  int64         `json:"bytes_in"`
	Duration time.Duration `json:"duration"`
	Error    string        `json:"error,omitempty"`

	Direction string `json:"direction,omitempty"`
}

// DNS is a name that was asked for.
type DNS struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"` // "A", "AAAA", "TXT" ...
	Answers []string `json:"answers,omitempty"`
	RCode   string   `json:"rcode"`
	Outcome Outcome  `json:"outcome"`
	Rule    string   `json:"rule,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Process Process  `json:"process"`
}

// FileOp is what became of a file of the workspace.
type FileOp string

// The file operations.
const (
	FileCreated  FileOp = "created"
	FileModified FileOp = "modified"
	FileDeleted  FileOp = "deleted"
	FileRenamed  FileOp = "renamed"
)

// File is a change in the workspace, found in the overlay when the run has ended.
type File struct {
	Op       FileOp `json:"op"`
	Path     string `json:"path"` // relative to the workspace
	OldPath  string `json:"old_path,omitempty"`
	Type     string `json:"type"` // "file", "folder", "symlink" ...
	Size     int64  `json:"size"`
	Mode     uint32 `json:"mode"`
	SHA256   string `json:"sha256,omitempty"`
	Artifact bool   `json:"artifact,omitempty"` // kept in the artifacts folder
}

// LiveFile is a change in the workspace that was seen as it happened. It says what was
// done, and File what has come of all of it; the one is never counted with the other.
type LiveFile struct {
	At      time.Time `json:"at"`
	Op      FileOp    `json:"op"`
	Path    string    `json:"path"` // relative to the workspace
	OldPath string    `json:"old_path,omitempty"`
	Type    string    `json:"type,omitempty"`  // "folder", or not known
	Count   int64     `json:"count,omitempty"` // of changes that this stands for, from First to At
	First   time.Time `json:"first"`
}

// LiveFiles are more such changes than each could have an event of its own.
type LiveFiles struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Under    string    `json:"under"` // the folder that they have in common; "." is the workspace
	Created  int64     `json:"created"`
	Modified int64     `json:"modified"`
	Deleted  int64     `json:"deleted"`
	Renamed  int64     `json:"renamed"`
}

// LimitHit is a limit that was reached.
type LimitHit struct {
	Limit   string  `json:"limit"` // "time", "memory", "audit size" ...
	Value   int64   `json:"value"`
	Unit    string  `json:"unit"`
	Action  string  `json:"action"` // what was done: "killed", "logged"
	Rule    string  `json:"rule,omitempty"`
	Process Process `json:"process"`
	Detail  string  `json:"detail,omitempty"`
	Ends    bool    `json:"-"` // the run ends of it
}

// Finding is something that stands out: an escape attempt, a layer's trouble.
type Finding struct {
	Title    string  `json:"title"`
	Detail   string  `json:"detail"`
	Severity string  `json:"severity"` // "low", "medium", "high"
	Outcome  Outcome `json:"outcome"`
	Rule     string  `json:"rule,omitempty"`
	Process  Process `json:"process"`
	Event    string  `json:"event,omitempty"` // "escape", "anomaly": what a profile's reaction calls it

	// Of an anomaly, for the profile's reaction to it. The trail has them in Detail.
	Figures map[string]float64 `json:"figures,omitempty"`
}

func (RunStart) record()      {}
func (RunEnd) record()        {}
func (Wipe) record()          {}
func (Exec) record()          {}
func (Exit) record()          {}
func (Connect) record()       {}
func (ConnectClosed) record() {}
func (DNS) record()           {}
func (File) record()          {}
func (LiveFile) record()      {}
func (LiveFiles) record()     {}
func (LimitHit) record()      {}
func (Finding) record()       {}
