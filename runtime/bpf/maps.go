package bpf

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapSpec says what a map is (struct bpf_map_def of libbpf; sizes in bytes).
type mapSpec struct{ kind, key, value, entries, flags uint32 }

// maps are those that a program uses, made when it is found to do so.
type maps struct {
	*object
	types *btf           // of ".maps"
	made  map[symbol]int // their descriptors
}

func (m *maps) close() {
	for _, fd := range m.made {
		unix.Close(fd)
	}
}

// fd is the map that a symbol refers to.
func (m *maps) fd(s symbol) (int, error) {
	in := m.sections[s.section]
	if in.isData() {
		s = symbol{name: in.name, section: s.section}
	} else if s = m.definition(s); s.name == "" {
		return 0, notSupported("it refers to section %s", in.name)
	}
	if fd, done := m.made[s]; done {
		return fd, nil
	}
	fd, err := m.make(s, in)
	if err != nil {
		return 0, err
	}
	m.made[s] = fd
	return fd, nil
}

// definition is the variable that a symbol is, or is at the place of.
func (m *maps) definition(at symbol) symbol {
	for _, s := range m.symbols {
		if s.section == at.section && s.value == at.value && s.kind != symbolSection && s.name != "" {
			return s
		}
	}
	return symbol{}
}

func (m *maps) make(s symbol, in section) (int, error) {
	var spec mapSpec
	var err error
	switch {
	case in.isData():
		return m.variables(s.name, in)
	case in.name == "maps":
		spec, err = define(s, in)
	case in.name == ".maps":
		spec, err = m.described(s.name)
	default:
		err = notSupported("it refers to section %s", in.name)
	}
	if err != nil {
		return 0, err
	}
	return create(spec, s.name)
}

// define reads an older definition: five numbers, and of those of iproute2 four
// more (struct bpf_elf_map: id, pinning, inner maps).
func define(s symbol, in section) (mapSpec, error) {
	b, err := part(in.data, s.value, max(s.size, 20))
	if err != nil {
		return mapSpec{}, fmt.Errorf("map %s: %w", s.name, err)
	}
	for more := b[20:]; len(more) >= 4; more = more[4:] {
		if le.Uint32(more) != 0 {
			return mapSpec{}, notSupported("map %s is to be pinned or to hold maps", s.name)
		}
	}
	return mapSpec{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}, nil
}

func (m *maps) described(name string) (mapSpec, error) {
	if m.types == nil {
		i := m.section(".BTF")
		if i < 0 {
			return mapSpec{}, fmt.Errorf("map %s: the object has no types (it takes clang -g)", name)
		}
		var err error
		if m.types, err = parseBTF(m.sections[i].data); err != nil {
			return mapSpec{}, fmt.Errorf(".BTF: %w", err)
		}
	}
	return m.types.define(name)
}

// create makes a map.
func create(spec mapSpec, name string) (int, error) {
	attr := struct {
		mapSpec
		innerMap, numaNode uint32
		name               [unix.BPF_OBJ_NAME_LEN]byte
	}{mapSpec: spec}
	copy(attr.name[:len(attr.name)-1], clean(name))
	fd, err := call(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return 0, fmt.Errorf("make map %s: %w", name, err)
	}
	return fd, nil
}

// clean is a name as the kernel takes it: letters, digits, _ and dots.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// variables makes a map of one element of a section of variables; constants can
// be changed by nobody.
func (m *maps) variables(name string, in section) (int, error) {
	constant := strings.HasPrefix(name, ".rodata")
	spec := mapSpec{kind: unix.BPF_MAP_TYPE_ARRAY, key: 4, value: uint32(min(in.size, 1<<30)), entries: 1}
	if constant {
		spec.flags = unix.BPF_F_RDONLY_PROG
	}
	fd, err := create(spec, name)
	if err != nil || in.data == nil { // .bss
		return fd, err
	}
	update := struct {
		fd         uint32
		_          uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(fd), key: pointerTo(make([]byte, 4)), value: pointerTo(in.data)}
	if _, err = call(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&update), unsafe.Sizeof(update)); err == nil && constant {
		freeze := uint32(fd)
		_, err = call(unix.BPF_MAP_FREEZE, unsafe.Pointer(&freeze), unsafe.Sizeof(freeze))
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("fill %s: %w", name, err)
	}
	return fd, nil
}
