// Package residue gives back what only the start of a long process needed: its garbage, and
// the pages of the program's own file that were read on the way. A page is read again when
// it is used again, so that nothing is lost but the time for that.
//
// It never touches memory that was ever writable.
package residue

/*
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

// The program's own headers say which of its segments are never written: its text and its
// constants. /proc/self/maps does not: what the C library relocates is read-only after that
// (-z relro), and would come back as it is in the file.
static void release_program(void) {
	const ElfW(Phdr) *header = (const ElfW(Phdr) *)getauxval(AT_PHDR);
	unsigned long count = getauxval(AT_PHNUM), page = getpagesize(), moved = 0;
	if (!header)
		return;
	for (unsigned long i = 0; i < count; i++)
		if (header[i].p_type == PT_PHDR) // where they would be if the program had not been moved
			moved = (unsigned long)header - header[i].p_vaddr;
	for (unsigned long i = 0; i < count; i++) {
		if (header[i].p_type != PT_LOAD || header[i].p_flags & PF_W)
			continue;
		// Whole pages: the last one may be the next segment's, too.
		unsigned long start = (moved + header[i].p_vaddr + page - 1) & -page;
		unsigned long end = (moved + header[i].p_vaddr + header[i].p_memsz) & -page;
		if (start < end)
			madvise((void *)start, end - start, MADV_DONTNEED);
	}
}
*/
import "C"

import "runtime/debug"

// Release gives it back. What the kernel does not take stays: a process that is larger than
// it could be is no failure.
func Release() {
	debug.FreeOSMemory()
	C.release_program()
}
