package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// What is used of ELF (elf(5), and include/uapi/linux/elf.h). The standard
// library's debug/elf would make every start of the program longer, since it links
// decompressors and DWARF.
const (
	elfHeader, elfSection, elfSymbol, elfRel = 64, 64, 24, 16

	machineBPF = 247 // EM_BPF
	typeSymtab = 2   // SHT_SYMTAB
	typeNobits = 8   // SHT_NOBITS: zeros that the file does not hold
	typeRel    = 9   // SHT_REL
	flagExec   = 4   // SHF_EXECINSTR

	symbolFunc    = 2 // STT_FUNC
	symbolSection = 3 // STT_SECTION
)

// object is a BPF object file.
type object struct {
	sections []section
	symbols  []symbol
}

type section struct {
	name       string
	kind       uint32
	exec       bool
	size       uint64
	data       []byte // nil of SHT_NOBITS
	link, info uint32
}

// symbol is a name for a place in a section.
type symbol struct {
	name        string
	kind        byte
	section     int
	value, size uint64
}

var errShort = errors.New("it is cut short, or no object file of BPF")

var le = binary.LittleEndian

// parseObject reads an object file.
func parseObject(b []byte) (*object, error) {
	if len(b) < elfHeader || !bytes.HasPrefix(b, []byte("\x7fELF\x02\x01")) || le.Uint16(b[18:]) != machineBPF {
		return nil, errors.New("it is no object file of BPF with 64 bits, little-endian (clang -target bpf -c)")
	}
	offset, count, names := le.Uint64(b[40:]), uint64(le.Uint16(b[60:])), int(le.Uint16(b[62:]))
	headers, err := part(b, offset, count*elfSection)
	if err != nil {
		return nil, err
	}
	o := &object{}
	var nameAt []uint32
	for h := headers; len(h) > 0; h = h[elfSection:] {
		s := section{kind: le.Uint32(h[4:]), exec: le.Uint64(h[8:])&flagExec != 0, size: le.Uint64(h[32:]), link: le.Uint32(h[40:]), info: le.Uint32(h[44:])}
		if s.kind != typeNobits {
			if s.data, err = part(b, le.Uint64(h[24:]), s.size); err != nil {
				return nil, err
			}
		}
		o.sections, nameAt = append(o.sections, s), append(nameAt, le.Uint32(h))
	}
	for i := range o.sections {
		o.sections[i].name = o.text(names, nameAt[i])
	}
	for _, s := range o.sections {
		if s.kind == typeSymtab {
			o.readSymbols(s)
		}
	}
	return o, nil
}

// part is size bytes of b from offset on.
func part(b []byte, offset, size uint64) ([]byte, error) {
	if offset > uint64(len(b)) || size > uint64(len(b))-offset {
		return nil, errShort
	}
	return b[offset : offset+size], nil
}

// text is a string of the table that is a section.
func (o *object) text(table int, at uint32) string {
	if table >= len(o.sections) {
		return ""
	}
	return cstring(o.sections[table].data, at)
}

// cstring is the text at an offset, up to its zero.
func cstring(b []byte, at uint32) string {
	if uint64(at) >= uint64(len(b)) {
		return ""
	}
	text, _, _ := bytes.Cut(b[at:], []byte{0})
	return string(text)
}

func (o *object) readSymbols(table section) {
	for b := table.data; len(b) >= elfSymbol; b = b[elfSymbol:] {
		o.symbols = append(o.symbols, symbol{name: o.text(int(table.link), le.Uint32(b)), kind: b[4] & 0xf,
			section: int(le.Uint16(b[6:])), value: le.Uint64(b[8:]), size: le.Uint64(b[16:])})
	}
}

// section returns the number of the section of a name, or -1.
func (o *object) section(name string) int {
	for i, s := range o.sections {
		if s.name == name {
			return i
		}
	}
	return -1
}

// license is what the program says that its licence is; some helpers of the kernel
// are for the GPL alone.
func (o *object) license() string {
	if i := o.section("license"); i >= 0 {
		return cstring(o.sections[i].data, 0)
	}
	return ""
}

// relocation says that an instruction refers to a symbol.
type relocation struct {
	kind   uint32
	symbol symbol
}

// relocations are those of a section's instructions, by their offset.
func (o *object) relocations(of int) (map[uint64]relocation, error) {
	all := map[uint64]relocation{}
	for _, s := range o.sections {
		if s.kind != typeRel || int(s.info) != of {
			continue
		}
		for b := s.data; len(b) >= elfRel; b = b[elfRel:] {
			number := le.Uint32(b[12:])
			if uint64(number) >= uint64(len(o.symbols)) {
				return nil, errShort
			}
			all[le.Uint64(b)] = relocation{le.Uint32(b[8:]), o.symbols[number]}
		}
	}
	return all, nil
}

// adapts tells whether the program is to be changed to what the kernel's own types
// look like (CO-RE): .BTF.ext then has relocations for it (include/linux/btf.h).
func (o *object) adapts() bool {
	i := o.section(".BTF.ext")
	if i < 0 {
		return false
	}
	b := o.sections[i].data
	return len(b) >= 32 && le.Uint32(b[4:]) >= 32 && le.Uint32(b[28:]) > 0
}

// named tells what a symbol is called; a section's is the section.
func (o *object) named(s symbol) string {
	if s.name == "" && s.section < len(o.sections) {
		return o.sections[s.section].name
	}
	return s.name
}

// isData tells whether a section holds the program's variables or constants.
func (s section) isData() bool {
	for _, name := range []string{".rodata", ".data", ".bss"} {
		if s.name == name || strings.HasPrefix(s.name, name+".") {
			return true
		}
	}
	return false
}

func notSupported(format string, args ...any) error {
	return fmt.Errorf("%s: nsscript does not load such programs; load and pin it with bpftool, and say pinned FILE", fmt.Sprintf(format, args...))
}
