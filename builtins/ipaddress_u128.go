package builtins

import (
	"cmp"
	"math/big"
	"net/netip"

	"go.starlark.net/starlark"
)

// ipU128 is the number of an address: of an IPv4 address at most 32 bits of it.
// Sums and differences wrap round.
type ipU128 struct{ hi, lo uint64 }

func ipU128Of(a netip.Addr) (x ipU128) {
	for _, c := range a.AsSlice() {
		x.hi, x.lo = x.hi<<8|x.lo>>56, x.lo<<8|uint64(c)
	}
	return x
}

// ipU128OfInt gives the magnitude and the sign of an int; ok is false if the
// magnitude has more than 128 bits.
func ipU128OfInt(i starlark.Int) (x ipU128, neg, ok bool) {
	if small, fits := i.Int64(); fits {
		if small < 0 {
			return ipU128{lo: -uint64(small)}, true, true
		}
		return ipU128{lo: uint64(small)}, false, true
	}
	b := i.BigInt()
	if b.BitLen() > 128 {
		return ipU128{}, b.Sign() < 0, false
	}
	var buf [16]byte
	b.FillBytes(buf[:]) // of the magnitude
	return ipU128Of(netip.AddrFrom16(buf)), b.Sign() < 0, true
}

// ipOnes is the number with the lowest n bits set.
func ipOnes(n uint) ipU128 { return ipU128{lo: 1}.shl(n).sub(ipU128{lo: 1}) }

func (x ipU128) addr(is4 bool) netip.Addr {
	var b [16]byte
	for i := range 8 {
		b[7-i], b[15-i] = byte(x.hi>>(8*i)), byte(x.lo>>(8*i))
	}
	if is4 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func (x ipU128) toInt() starlark.Int {
	if x.hi == 0 {
		return starlark.MakeUint64(x.lo)
	}
	b := x.addr(false).As16()
	return starlark.MakeBigInt(new(big.Int).SetBytes(b[:]))
}

func (x ipU128) add(y ipU128) ipU128 {
	lo := x.lo + y.lo
	hi := x.hi + y.hi
	if lo < x.lo {
		hi++
	}
	return ipU128{hi, lo}
}

func (x ipU128) sub(y ipU128) ipU128 {
	hi := x.hi - y.hi
	if x.lo < y.lo {
		hi--
	}
	return ipU128{hi, x.lo - y.lo}
}

func (x ipU128) xor(y ipU128) ipU128 { return ipU128{x.hi ^ y.hi, x.lo ^ y.lo} }

// shl and shr need no care at 64: in Go a shift by 64 or more gives 0, and a
// negative count here is a huge one.
func (x ipU128) shl(n uint) ipU128 {
	return ipU128{x.hi<<n | x.lo>>(64-n) | x.lo<<(n-64), x.lo << n}
}

func (x ipU128) shr(n uint) ipU128 {
	return ipU128{x.hi >> n, x.lo>>n | x.hi<<(64-n) | x.hi>>(n-64)}
}

func (x ipU128) cmp(y ipU128) int {
	return cmp.Or(cmp.Compare(x.hi, y.hi), cmp.Compare(x.lo, y.lo))
}
