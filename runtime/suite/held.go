package suite

import (
	"fmt"
	"io"
)

// mostOutput is how much of a test's output is kept, half of it from its beginning and
// half from its end.
const mostOutput = 1 << 20

// ReadOutput reads until the end and keeps the beginning and the end of it.
func ReadOutput(r io.Reader) string {
	const half = mostOutput / 2
	var head, tail []byte
	left := 0
	for buf := make([]byte, 32<<10); ; {
		n, err := r.Read(buf)
		b := buf[:n]
		if room := min(half-len(head), len(b)); room > 0 {
			head, b = append(head, b[:room]...), b[room:]
		}
		tail = append(tail, b...)
		if len(tail) > 2*half { // now and then, so that not each write copies
			left += len(tail) - half
			tail = append([]byte(nil), tail[len(tail)-half:]...)
		}
		if err != nil {
			break
		}
	}
	if over := len(tail) - half; over > 0 {
		left, tail = left+over, tail[over:]
	}
	if left == 0 {
		return string(head) + string(tail)
	}
	return fmt.Sprintf("%s\n… %d bytes left out …\n%s", head, left, tail)
}
