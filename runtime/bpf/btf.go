package bpf

import (
	"fmt"
)

// Kinds of types (include/uapi/linux/btf.h).
const (
	btfInt, btfPtr, btfArray, btfStruct, btfUnion, btfEnum = 1, 2, 3, 4, 5, 6
	btfFuncProto, btfVar, btfDatasec                       = 13, 14, 15
	btfDeclTag, btfEnum64                                  = 17, 19
)

const maxTypeDepth = 32 // MAX_RESOLVE_DEPTH of kernel/bpf/btf.c

// btf are the types that an object file describes; number 0 is void.
type btf struct {
	types   []btfType
	strings []byte
}

type btfType struct {
	kind       byte
	count      int // of members
	name       uint32
	sizeOrType uint32
	more       []byte // what follows: members, or an array's type and length
}

// parseBTF reads the section .BTF.
func parseBTF(b []byte) (*btf, error) {
	if len(b) < 24 || le.Uint16(b) != 0xeb9f {
		return nil, errShort
	}
	header := uint64(le.Uint32(b[4:]))
	data, err := part(b, header+uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:])))
	if err != nil {
		return nil, err
	}
	t := &btf{types: make([]btfType, 1)}
	if t.strings, err = part(b, header+uint64(le.Uint32(b[16:])), uint64(le.Uint32(b[20:]))); err != nil {
		return nil, err
	}
	for len(data) >= 12 {
		info := le.Uint32(data[4:])
		x := btfType{kind: byte(info >> 24 & 0x1f), count: int(info & 0xffff), name: le.Uint32(data), sizeOrType: le.Uint32(data[8:])}
		if x.more, err = part(data, 12, x.trailer()); err != nil {
			return nil, err
		}
		t.types, data = append(t.types, x), data[12+len(x.more):]
	}
	return t, nil
}

// trailer is how many bytes follow a type.
func (t btfType) trailer() uint64 {
	switch t.kind {
	case btfInt, btfVar, btfDeclTag:
		return 4
	case btfArray:
		return 12
	case btfStruct, btfUnion, btfDatasec, btfEnum64:
		return 12 * uint64(t.count)
	case btfEnum, btfFuncProto:
		return 8 * uint64(t.count)
	}
	return 0
}

// at is a type, without its qualifiers and other names.
func (t *btf) at(id uint32) btfType {
	for range maxTypeDepth {
		if uint64(id) >= uint64(len(t.types)) {
			break
		}
		switch x := t.types[id]; x.kind {
		case 8, 9, 10, 11, 18: // typedef, volatile, const, restrict, type tag
			id = x.sizeOrType
		default:
			return x
		}
	}
	return btfType{}
}

// target is what a pointer points to.
func (t *btf) target(id uint32) uint32 {
	if x := t.at(id); x.kind == btfPtr {
		return x.sizeOrType
	}
	return 0
}

// size is how many bytes a type takes.
func (t *btf) size(id uint32, depth int) uint32 {
	switch x := t.at(id); {
	case x.kind == btfPtr:
		return 8
	case x.kind == btfArray && depth < maxTypeDepth:
		return t.size(le.Uint32(x.more), depth+1) * le.Uint32(x.more[8:])
	case x.kind == btfArray:
		return 0
	default:
		return x.sizeOrType
	}
}

// define reads a map's definition: the variable of that name in ".maps" is a
// struct whose members say it by their types (tools/lib/bpf/bpf_helpers.h, __uint
// and __type).
func (t *btf) define(name string) (m mapSpec, err error) {
	for _, v := range t.types {
		x := t.at(v.sizeOrType)
		if v.kind != btfVar || cstring(t.strings, v.name) != name || x.kind != btfStruct {
			continue
		}
		for b := x.more; len(b) > 0; b = b[12:] {
			if err := t.member(&m, cstring(t.strings, le.Uint32(b)), le.Uint32(b[4:])); err != nil {
				return m, fmt.Errorf("map %s: %w", name, err)
			}
		}
		return m, nil
	}
	return m, fmt.Errorf("map %s: its definition is missing (it takes clang -g)", name)
}

func (t *btf) member(m *mapSpec, name string, kind uint32) error {
	number := uint32(0) // __uint(name, number) is a pointer to an array so long
	if x := t.at(t.target(kind)); x.kind == btfArray {
		number = le.Uint32(x.more[8:])
	}
	switch name {
	case "type":
		m.kind = number
	case "max_entries":
		m.entries = number
	case "map_flags":
		m.flags = number
	case "key_size":
		m.key = number
	case "value_size":
		m.value = number
	case "key":
		m.key = t.size(t.target(kind), 0)
	case "value":
		m.value = t.size(t.target(kind), 0)
	default: // pinning, values: other maps …
		return notSupported("%s", name)
	}
	return nil
}
