package bpf

import (
	"errors"
	"fmt"
)

// Instructions (include/uapi/linux/bpf.h, and Documentation/bpf/standardization/
// instruction-set.rst): 8 bytes, opcode, registers, offset, immediate value. One
// that loads 64 bits takes two.
const (
	insnSize = 8
	maxInsns = 1_000_000 // BPF_COMPLEXITY_LIMIT_INSNS

	opLoad64 = 0x18 // BPF_LD | BPF_IMM | BPF_DW
	opCall   = 0x85 // BPF_JMP | BPF_CALL

	pseudoCall     = 1 // BPF_PSEUDO_CALL: a function of the program
	pseudoMap      = 1 // BPF_PSEUDO_MAP_FD
	pseudoMapValue = 2 // BPF_PSEUDO_MAP_VALUE: an address in a map's only element

	relocate64 = 1  // R_BPF_64_64: of a load
	relocate32 = 10 // R_BPF_64_32: of a call
)

// function is where a function is in its object.
type function struct {
	section int
	offset  uint64
}

// linker puts a function, and those that it calls, one after the other, as the
// kernel wants a program.
type linker struct {
	*object
	insns []byte
	at    map[function]int // the instruction that each begins with
	// mapFD makes the map that a symbol stands for, or the section that it is in.
	mapFD func(symbol) (int, error)
}

// link returns the instructions of the first function of a section.
func (o *object) link(section string, mapFD func(symbol) (int, error)) ([]byte, error) {
	i := o.section(section)
	if i < 0 || !o.sections[i].exec || len(o.sections[i].data) == 0 {
		return nil, errors.New("it has no such section")
	}
	l := &linker{object: o, at: map[function]int{}, mapFD: mapFD}
	_, err := l.add(function{section: i})
	return l.insns, err
}

// add appends a function that is not there yet, and says where it begins.
func (l *linker) add(f function) (int, error) {
	if at, done := l.at[f]; done {
		return at, nil
	}
	code, err := l.code(f)
	if err != nil {
		return 0, err
	}
	relocations, err := l.relocations(f.section)
	if err != nil {
		return 0, err
	}
	at := len(l.insns) / insnSize
	l.at[f] = at
	l.insns = append(l.insns, code...)
	if len(l.insns) > maxInsns*insnSize {
		return 0, fmt.Errorf("it has more than %d instructions", maxInsns)
	}
	for i := 0; i < len(code)/insnSize; i++ {
		r, found := relocations[f.offset+uint64(i)*insnSize]
		switch op := code[i*insnSize]; {
		case op == opCall && found && r.kind == relocate32, op == opCall && !found && code[i*insnSize+1]>>4 == pseudoCall:
			err = l.call(at+i, f, r, found)
		case op == opLoad64 && found && r.kind == relocate64 && (i+2)*insnSize <= len(code):
			err = l.load(at+i, r.symbol)
		case found:
			err = notSupported("relocation %d of %s", r.kind, l.named(r.symbol))
		}
		if err != nil {
			return 0, err
		}
		if code[i*insnSize] == opLoad64 {
			i++ // its second half
		}
	}
	return at, nil
}

// code is a function's instructions: as long as its symbol says, or what is left
// of the section.
func (l *linker) code(f function) ([]byte, error) {
	data := l.sections[f.section].data
	size := uint64(0)
	for _, s := range l.symbols {
		if s.kind == symbolFunc && s.section == f.section && s.value == f.offset {
			size = s.size
		}
	}
	if size == 0 && f.offset < uint64(len(data)) {
		size = uint64(len(data)) - f.offset
	}
	if size%insnSize != 0 || f.offset%insnSize != 0 {
		return nil, errShort
	}
	return part(data, f.offset, size)
}

// call lets an instruction of f call a function of the program: where the symbol
// is and, from there or without a symbol from here, as far on as it says.
func (l *linker) call(at int, f function, r relocation, found bool) error {
	insn := l.insns[at*insnSize:]
	far := (int64(int32(le.Uint32(insn[4:]))) + 1) * insnSize
	target := function{f.section, f.offset + uint64(at-l.at[f])*insnSize + uint64(far)}
	if found {
		if r.symbol.section == 0 || r.symbol.section >= len(l.sections) || !l.sections[r.symbol.section].exec {
			return notSupported("it calls %s, which it does not have", l.named(r.symbol))
		}
		target = function{r.symbol.section, r.symbol.value + uint64(far)}
	}
	to, err := l.add(target)
	if err != nil {
		return err
	}
	insn = l.insns[at*insnSize:] // they have moved
	insn[1] = insn[1]&0xf | pseudoCall<<4
	le.PutUint32(insn[4:], uint32(to-at-1))
	return nil
}

// load lets an instruction load a map, or the address of a variable: it is in the
// only element of a map that is its section.
func (l *linker) load(at int, s symbol) error {
	if s.section == 0 || s.section >= len(l.sections) || l.sections[s.section].exec {
		return notSupported("it takes the address of %s", l.named(s))
	}
	fd, err := l.mapFD(s)
	if err != nil {
		return err
	}
	insn := l.insns[at*insnSize:]
	if !l.sections[s.section].isData() {
		insn[1] = insn[1]&0xf | pseudoMap<<4
		le.PutUint32(insn[4:], uint32(fd))
		return nil
	}
	insn[1] = insn[1]&0xf | pseudoMapValue<<4
	le.PutUint32(insn[insnSize+4:], le.Uint32(insn[4:])+uint32(s.value))
	le.PutUint32(insn[4:], uint32(fd))
	return nil
}
