package lab

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// existing finds, for exist=True, the link that has the name, opening its other end
// where that is wanted and the lab has it not; nil where there is none yet.
func (s *TunSpec) existing(uid, gid int) (*Link, error) {
	link, err := s.LinkSpec.existing()
	if link == nil || err != nil {
		return nil, err
	}
	kind := tunKind()
	given := map[string]any{"mode": s.mode(), "pi": s.PI, "vnet_hdr": s.VNetHdr, "multi_queue": s.MultiQueue}
	if uid >= 0 {
		given["user"] = uid
	}
	if gid >= 0 {
		given["user_group"] = gid
	}
	var options []Chosen
	for _, o := range kind.Options {
		if v, asked := given[o.Name]; asked {
			options = append(options, Chosen{o, v})
		}
	}
	if err := link.is(&s.LinkSpec, kind, nil, options); err != nil || !s.Hold || link.Held() {
		return link, err
	}
	return link, link.hold(s)
}

// hold opens the other end of a link that is there.
func (k *Link) hold(s *TunSpec) error {
	fd := -1
	err := k.ns.do(func() (err error) {
		if fd, err = unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		request, err := unix.NewIfreq(k.name)
		if err != nil {
			return err
		}
		request.SetUint16(s.flags())
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		hint := ""
		if errors.Is(err, unix.EBUSY) {
			hint = "another program holds it; say hold=False"
		}
		return k.failed(err, hint, "open the other end of %s", k)
	}
	k.tun = &tunFile{f: os.NewFile(uintptr(fd), tunDevice), turn: make(chan struct{}, 1)}
	return nil
}
