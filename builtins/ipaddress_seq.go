package builtins

import (
	"encoding/json"
	"fmt"

	"go.starlark.net/starlark"
)

// ipMostLen is how many elements a sequence may have to have a length. Starlark's
// list(), enumerate() and others allocate by the length before they iterate, so
// a length of 2**64 would end the process.
const ipMostLen = 1 << 24

// ipSeq is a lazy sequence of the addresses or the subnets of a network. It has
// no length for Starlark; ipList is for those that have. An index may be any
// int, which is why it is a Mapping for Starlark and not Indexable.
type ipSeq struct {
	what  string         // what it has, such as "hosts of 10.0.0.0/24"
	first ipU128         // the number of the first element's address
	last  ipU128         // the index of the last element; there is always one
	is4   bool           // the version
	shift uint           // elements are 2**shift apart
	bits  int            // the prefix length of networks, -1 for addresses
	only  starlark.Value // the one element as it is, where Python keeps its scope
}

var (
	_ starlark.Iterable  = (*ipSeq)(nil)
	_ starlark.Container = (*ipSeq)(nil)
	_ starlark.Mapping   = (*ipSeq)(nil)
)

// value is the sequence as Starlark gets it: with a length if it may have one.
func (s *ipSeq) value() starlark.Value {
	if s.last.hi == 0 && s.last.lo < ipMostLen {
		return &ipList{seq: s, n: int(s.last.lo) + 1, step: 1}
	}
	return s
}

func (s *ipSeq) String() string      { return "<" + s.what + ">" }
func (*ipSeq) Type() string          { return "IPSequence" }
func (*ipSeq) Freeze()               {} // immutable
func (*ipSeq) Truth() starlark.Bool  { return true }
func (*ipSeq) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable type: IPSequence") }

// MarshalJSON is an error: this would be the array of more than 2**24 elements.
func (s *ipSeq) MarshalJSON() ([]byte, error) {
	return nil, fmt.Errorf("the %s are too many for JSON", s.what)
}

// at gives the element with an index up to s.last.
func (s *ipSeq) at(i ipU128) starlark.Value {
	if s.only != nil {
		return s.only
	}
	addr := s.first.add(i.shl(s.shift)).addr(s.is4)
	if s.bits < 0 {
		return &IPAddress{addr}
	}
	return &IPNetwork{addr, s.bits}
}

// find gives the index of an element. A string stands for what it is the text of.
func (s *ipSeq) find(v starlark.Value) (i ipU128, found bool, err error) {
	if _, ok := v.(starlark.String); ok {
		if s.bits < 0 {
			v, err = NewIPAddress(v)
		} else {
			v, err = NewIPNetwork(v, true)
		}
		if err != nil {
			return ipU128{}, false, err
		}
	}
	if s.only != nil {
		found, err = starlark.Equal(s.only, v)
		return ipU128{}, found, err
	}
	var is4 bool
	switch v := v.(type) {
	case *IPAddress:
		is4, found = v.addr.Is4(), s.bits < 0 && v.addr.Zone() == ""
		i = ipU128Of(v.addr)
	case *IPNetwork:
		is4, found = v.addr.Is4(), s.bits == v.bits && v.addr.Zone() == ""
		i = ipU128Of(v.addr)
	}
	if !found || is4 != s.is4 || i.cmp(s.first) < 0 {
		return ipU128{}, false, nil
	}
	i = i.sub(s.first)
	whole := i.shr(s.shift)
	return whole, whole.shl(s.shift) == i && whole.cmp(s.last) <= 0, nil
}

// Has says whether v is an element, at no cost.
func (s *ipSeq) Has(v starlark.Value) (bool, error) {
	_, found, err := s.find(v)
	return found, err
}

// Get is s[k], where a negative k counts from the end.
func (s *ipSeq) Get(k starlark.Value) (starlark.Value, bool, error) {
	index, ok := k.(starlark.Int)
	if !ok {
		return nil, false, fmt.Errorf("the index of the %s is an int, not a value of type %s", s.what, k.Type())
	}
	i, fromEnd := index, index.Sign() < 0
	if fromEnd {
		i = i.Not() // -1 is 0 from the end
	}
	if x, _, ok := ipU128OfInt(i); ok && x.cmp(s.last) <= 0 {
		if fromEnd {
			x = s.last.sub(x)
		}
		return s.at(x), true, nil
	}
	return nil, false, fmt.Errorf("index %s is out of range: the last of the %s is %s", ipIntText(index), s.what, s.last.toInt())
}

// Iterate goes over all elements; it makes each when its turn comes.
func (s *ipSeq) Iterate() starlark.Iterator { return &ipSeqIterator{seq: s} }

type ipSeqIterator struct {
	seq  *ipSeq
	next ipU128
	over bool
}

func (it *ipSeqIterator) Next(p *starlark.Value) bool {
	if it.over {
		return false
	}
	*p = it.seq.at(it.next)
	it.over = it.next == it.seq.last
	it.next = it.next.add(ipU128{lo: 1})
	return true
}

func (*ipSeqIterator) Done() {}

// ipList is an ipSeq short enough to have a length, or a slice of one: n elements
// of seq from start, step apart. It is as lazy.
type ipList struct {
	seq            *ipSeq
	n, start, step int
}

var (
	_ starlark.Sequence  = (*ipList)(nil)
	_ starlark.Sliceable = (*ipList)(nil)
	_ starlark.Container = (*ipList)(nil)
	_ json.Marshaler     = (*ipList)(nil)
)

func (l *ipList) String() string {
	if l.n == int(l.seq.last.lo)+1 {
		return l.seq.String()
	}
	return fmt.Sprintf("<%d of the %s>", l.n, l.seq.what)
}
func (l *ipList) Type() string          { return l.seq.Type() }
func (*ipList) Freeze()                 {} // immutable
func (l *ipList) Truth() starlark.Bool  { return l.n > 0 }
func (l *ipList) Hash() (uint32, error) { return l.seq.Hash() }
func (l *ipList) Len() int              { return l.n }

// Index gives the element at i, for 0 <= i < Len().
func (l *ipList) Index(i int) starlark.Value {
	return l.seq.at(ipU128{lo: uint64(l.start + i*l.step)})
}

// Slice is l[start:end:step].
func (l *ipList) Slice(start, end, step int) starlark.Value {
	n := 0
	switch {
	case step > 0 && start < end:
		n = (end-start-1)/step + 1
	case step < 0 && start > end:
		n = (start-end-1)/-step + 1
	}
	cut := &ipList{seq: l.seq, n: n, start: l.start + start*l.step, step: 1}
	if n > 1 { // else the product could overflow
		cut.step = l.step * step
	}
	return cut
}

// Has says whether v is an element, at no cost.
func (l *ipList) Has(v starlark.Value) (bool, error) {
	x, found, err := l.seq.find(v)
	if !found || err != nil {
		return false, err
	}
	away := int(x.lo) - l.start
	return away%l.step == 0 && away/l.step >= 0 && away/l.step < l.n, nil
}

// Iterate goes over all elements; it makes each when its turn comes.
func (l *ipList) Iterate() starlark.Iterator { return &ipListIterator{list: l} }

// MarshalJSON gives the array of the elements' strings.
func (l *ipList) MarshalJSON() ([]byte, error) {
	texts := make([]string, l.n)
	for i := range texts {
		texts[i] = l.Index(i).String()
	}
	return json.Marshal(texts)
}

type ipListIterator struct {
	list *ipList
	next int
}

func (it *ipListIterator) Next(p *starlark.Value) bool {
	if it.next >= it.list.n {
		return false
	}
	*p = it.list.Index(it.next)
	it.next++
	return true
}

func (*ipListIterator) Done() {}
