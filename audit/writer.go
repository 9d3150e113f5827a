package audit

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// finalSpace is kept of a log's size for the event that says that it is full and
// for those that end it, which are held to tighter bounds then.
const finalSpace = 128 << 10

// MinSize is the smallest size that a log can have.
const MinSize = 2 * finalSpace

// batchSize is from when on lines that are ready are written, without waiting for
// more.
const batchSize = 64 << 10

// Config says how a trail is written.
type Config struct {
	RunID   string             // letters, digits, ".", "_" and "-"; at most 128
	Version string             // of the product
	Size    int64              // the log's largest size in bytes, at least MinSize
	Redact  []string           // secret values that may never be in the log
	Head    string             // where Close writes the head; empty: nowhere, see Writer.Head
	Key     ed25519.PrivateKey // signs the head; nil: unsigned
	Clock   func() time.Time   // time.Now if nil

	// OnFull is called once when the log has reached its size. What is emitted
	// after that, but for Wipe and RunEnd, is counted and not written.
	OnFull func()
	// OnError is called once when writing has failed; Err says it too.
	// Both are called in a goroutine of their own.
	OnError func(error)

	tick <-chan time.Time // tests replace the timer
}

// A LogFile is what a log is written to: *os.File, opened to append.
type LogFile interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// A Writer writes a trail. Its methods may be called from any goroutine; a single
// one of its own owns the file, the numbers and the chain.
//
// Emit waits for nothing but room in a bounded queue: a caller that is faster
// than the disk for long is slowed down, and nothing is dropped.
//
// Each line reaches the kernel in one write(2), some of them together with the
// lines that were queued behind it. Linux can end a write early, at the boundary
// of a page, when the process is killed (generic_perform_write checks for a fatal
// signal between pages), whether it holds one line or many. What is in the file is
// always a prefix of what was written, because one goroutine appends to it: whole
// lines, and at most one torn one at the end, which readers report.
//
// The file is synced from RunStart on, at the end, and once a second in between, so
// a power cut costs a second at most.
type Writer struct {
	config   Config
	source   source
	redactor *Redactor
	queue    *queue
	done     chan struct{}
	closing  sync.Once
	syncs    sync.WaitGroup // in the background

	mu   sync.Mutex
	err  error
	head Head

	log appender // owned by the goroutine
}

// Create makes a new log and its Writer. Neither the log nor its head may exist:
// a trail is never written over.
func Create(path string, config Config) (*Writer, error) {
	config.Head = HeadPath(path)
	if _, err := os.Lstat(config.Head); err == nil {
		return nil, fmt.Errorf("create the audit trail %s: its head %s exists already\nhint: name another file, or move the old trail away", path, config.Head)
	}
	// With O_EXCL the name must be new, and a symbolic link in its place is not followed (open(2)).
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("create the audit trail %s: it exists already\nhint: name another file, or move the old trail away", path)
	}
	if err != nil {
		return nil, fmt.Errorf("create the audit trail: %w", err)
	}
	w, err := NewWriter(f, config)
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	w.background(func() error { return syncDir(filepath.Dir(path)) })
	return w, nil
}

// background syncs beside what is written. An fsync takes milliseconds, and nobody
// waits for the one that starts a log; Close does, and its error ends the run.
func (w *Writer) background(sync func() error) {
	w.syncs.Add(1)
	go func() {
		defer w.syncs.Done()
		if err := sync(); err != nil {
			w.fail(fmt.Errorf("sync the audit trail: %w", err))
		}
	}()
}

// maxRunID bounds a run's id, in bytes.
const maxRunID = 128

func isRunID(s string) bool {
	set := charset("0-9A-Za-z._-")
	return s != "" && len(s) <= maxRunID && span256(&set, s, 0) == len(s)
}

// NewWriter writes a trail to an empty file, which it owns from then on.
func NewWriter(f LogFile, config Config) (*Writer, error) {
	if !isRunID(config.RunID) {
		return nil, fmt.Errorf("%q is not a run id", config.RunID)
	}
	if config.Size < MinSize {
		return nil, fmt.Errorf("an audit trail of %d bytes is too small\nhint: audit.size must be at least %d bytes", config.Size, int64(MinSize))
	}
	if config.Key != nil && len(config.Key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("the key to sign the audit trail with has %d bytes, an Ed25519 key has %d", len(config.Key), ed25519.PrivateKeySize)
	}
	redactor, err := NewRedactor(config.Redact)
	if err != nil {
		return nil, err
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	w := &Writer{
		config:   config,
		source:   newSource(config.RunID, config.Version, redactor),
		redactor: redactor,
		queue:    newQueue(),
		done:     make(chan struct{}),
	}
	w.log = appender{file: f, limit: config.Size, fail: w.fail, link: link{runID: config.RunID}}
	w.log.committed = w.log.link
	go w.run()
	return w, nil
}

// Emit implements Sink. After Close it does nothing.
func (w *Writer) Emit(r Record) {
	w.queue.put(build(w.source, w.redactor, r, w.config.Clock(), ordinary()))
}

// Flush waits until everything that was emitted before is written and synced, and
// returns Err.
func (w *Writer) Flush() error { return w.reach(&entry{synced: true}) }

// Commit waits until everything that was emitted before is written, and returns Err.
// A run that can't be recorded must not begin: call it after RunStart.
func (w *Writer) Commit() error { return w.reach(&entry{}) }

func (w *Writer) reach(barrier *entry) error {
	reached := make(chan error, 1)
	barrier.barrier = reached
	if !w.queue.put(barrier) {
		<-w.done
		return w.Err()
	}
	return <-reached
}

// Err is the first error of writing, or nil.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Head is the head of the log; it is complete after Close.
func (w *Writer) Head() Head {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.head
}

// Close writes what is queued, syncs and closes the file, writes the head, and
// returns Err.
func (w *Writer) Close() error {
	w.closing.Do(w.queue.close)
	<-w.done
	return w.Err()
}

// fail keeps the first error.
func (w *Writer) fail(err error) {
	w.mu.Lock()
	first := w.err == nil
	if first {
		w.err = err
	}
	w.mu.Unlock()
	if first && w.config.OnError != nil {
		go w.config.OnError(err)
	}
}

// run is the goroutine that owns the file.
func (w *Writer) run() {
	defer close(w.done)
	timer := time.NewTimer(time.Second)
	timer.Stop()
	armed := false
	tick := w.config.tick
	if tick == nil {
		tick = timer.C
	}
	var batch []*entry
	for {
		select {
		case <-w.queue.wake:
		case <-tick:
			armed = false
			w.everySecond()
		}
		var closed bool
		batch, closed = w.queue.take(batch)
		for i := range batch {
			w.handle(batch[i])
			w.source.pools.recycle(batch[i])
			batch[i] = nil
		}
		w.log.commit()
		if closed {
			w.finish()
			return
		}
		if pending := w.log.dirty || !w.log.folds.empty(); pending && !armed {
			timer.Reset(time.Second)
			armed = true
		}
	}
}

func (w *Writer) everySecond() {
	w.writeFolds()
	w.log.commit()
	w.log.sync()
}

func (w *Writer) handle(e *entry) {
	if e.barrier != nil {
		w.log.commit()
		if e.synced {
			w.log.sync()
		}
		e.barrier <- w.Err()
		return
	}
	if w.log.folds.full() {
		w.writeFolds()
	}
	if w.log.folds.add(e) {
		return
	}
	if e.last {
		w.writeFolds()
	}
	w.write(e)
	if e.first {
		w.log.commit()
		w.log.dirty = false
		w.background(w.log.file.Sync)
	}
}

func (w *Writer) writeFolds() {
	for _, e := range w.log.folds.take() {
		w.write(e)
	}
}

// write puts an event into the log, or counts it as lost.
func (w *Writer) write(e *entry) {
	l := &w.log
	if e.last {
		l.commit() // so that what fails before it does not take it along
		if l.full {
			e = w.rebuild(e)
		}
		if l.append(e, l.limit) || !l.full && l.append(w.rebuild(e), l.limit) {
			return
		}
		l.lost++
		return
	}
	if l.full || w.Err() != nil {
		l.lost++
		return
	}
	if l.append(e, l.limit-finalSpace) {
		return
	}
	l.full = true
	l.lost += 1 + l.folds.drop()
	hit := LimitHit{Limit: "audit size", Value: l.limit, Unit: "bytes", Action: "recording ended"}
	l.append(build(w.source, w.redactor, hit, w.config.Clock(), final()), l.limit)
	if w.config.OnFull != nil {
		go w.config.OnFull()
	}
}

// rebuild makes one of the last events again within the tighter bounds.
func (w *Writer) rebuild(e *entry) *entry {
	return build(w.source, w.redactor, e.record, e.at, final())
}

// finish ends the log and seals it.
func (w *Writer) finish() {
	w.writeFolds()
	w.log.commit()
	w.log.sync()
	w.syncs.Wait()
	if err := w.log.file.Close(); err != nil {
		w.fail(fmt.Errorf("close the audit trail: %w", err))
	}
	head := Head{
		RunID:       w.config.RunID,
		Count:       w.log.committed.sequence,
		Fingerprint: w.log.committed.fingerprint,
		Size:        w.log.size,
		Time:        w.config.Clock().UTC().Format(time.RFC3339Nano),
		Lost:        w.log.lost,
	}
	if err := w.Err(); err != nil {
		head.Error, _ = w.redactor.Redact(err.Error())
	}
	if w.config.Key != nil {
		if err := head.Sign(w.config.Key); err != nil {
			w.fail(err)
		}
	}
	if w.config.Head != "" {
		if err := head.write(w.config.Head); err != nil {
			w.fail(err)
		}
	}
	w.mu.Lock()
	w.head = head
	w.mu.Unlock()
}
