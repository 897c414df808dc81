package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A frame is an Ethernet frame that was seen on the trunk.
type frame struct {
	at   time.Time
	from string // its sender's address
	vlan int    // 0: none
}

// A capture is a tcpdump on the trunk between the switches.
type capture struct {
	t    *testing.T
	cmd  *exec.Cmd
	file string
	said bytes.Buffer
}

// capture starts a capture. When it returns, no further frame is missed.
func (l *lab) capture() *capture {
	l.t.Helper()
	c := &capture{t: l.t, file: filepath.Join(l.dir, "trunk.pcap")}
	c.cmd = exec.Command("nsenter", "--net=/run/netns/"+l.name+"-sw1", "--",
		"tcpdump", "-i", "t0", "-n", "-U", "-s", "64", "-B", "4096", "--time-stamp-precision=nano", "-Z", "root", "-w", c.file)
	listens, err := c.cmd.StderrPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !strings.Contains(c.said.String(), "listening on") {
		n, err := listens.Read(buf)
		c.said.Write(buf[:n])
		if err != nil {
			l.t.Fatalf("tcpdump: %v\n%s", err, &c.said)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, listens) }()
	return c
}

// stop ends the capture and returns its frames.
func (c *capture) stop() []frame {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	_ = c.cmd.Wait() // its reader may have been quicker
	data, err := os.ReadFile(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	frames, err := parsePcap(data)
	if err != nil {
		c.t.Fatal(err)
	}
	return frames
}

// parsePcap reads pcap(5) as tcpdump writes it here: nanoseconds, Ethernet.
func parsePcap(data []byte) ([]frame, error) {
	if len(data) < 24 || binary.NativeEndian.Uint32(data) != 0xa1b23c4d {
		return nil, errors.New("not a capture with nanoseconds")
	}
	var frames []frame
	for data = data[24:]; len(data) > 0; {
		if len(data) < 16 {
			return nil, io.ErrUnexpectedEOF
		}
		sec, nsec, n := binary.NativeEndian.Uint32(data), binary.NativeEndian.Uint32(data[4:]), int(binary.NativeEndian.Uint32(data[8:]))
		if data = data[16:]; len(data) < n || n < 18 {
			return nil, io.ErrUnexpectedEOF
		}
		f := frame{at: time.Unix(int64(sec), int64(nsec)), from: net.HardwareAddr(data[6:12]).String()}
		if binary.BigEndian.Uint16(data[12:]) == 0x8100 {
			f.vlan = int(binary.BigEndian.Uint16(data[14:]) & 0xfff)
		}
		frames, data = append(frames, f), data[n:]
	}
	return frames, nil
}
