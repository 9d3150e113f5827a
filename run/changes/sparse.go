package changes

import (
	"bytes"
	"os"
)

// sparseFile writes a file from its beginning and leaves a hole where zeros come: what
// an agent made of one long hole must not become as many bytes of the host's disk.
type sparseFile struct {
	file *os.File
	size int64
}

var zeros [32 << 10]byte // as much as io.Copy has in one go

func (s *sparseFile) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		part := b[done:min(done+len(zeros), len(b))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			if n, err := s.file.WriteAt(part, s.size); err != nil {
				return done + n, err
			}
		}
		done += len(part)
		s.size += int64(len(part))
	}
	return done, nil
}

// Close gives the file its size, which a hole at its end has not.
func (s *sparseFile) Close() error {
	return s.file.Truncate(s.size)
}
