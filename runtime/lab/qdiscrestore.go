package lab

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// replaceQdisc puts a qdisc at its place. One that would keep what the new one leaves
// out is deleted before, and what was below it made again.
func (k *Link) replaceQdisc(ctx context.Context, before []tcNode, n tcNode) error {
	was := below(before, n.parent)
	if len(was) == 0 || !was[0].outlasts(n) {
		return k.putNode(ctx, "replace", n)
	}
	if err := k.dropNode(ctx, was[0]); err != nil {
		return err
	}
	if err := k.putNode(ctx, "replace", n); err != nil {
		return errors.Join(err, k.putAgain(ctx, was))
	}
	return k.putAgain(ctx, was[1:])
}

// outlasts tells whether a change to the other one would leave something of this one.
func (n tcNode) outlasts(o tcNode) bool {
	kind := QdiscKindOf(n.kind)
	if kind == nil || kind.lasting == nil || n.kind != o.kind || n.handle != o.handle {
		return false
	}
	return kind.lasting(n.data)&^kind.lasting(o.data) != 0
}

// restoreQueueing makes what is at a place of the link what it was before.
func (k *Link) restoreQueueing(ctx context.Context, before []tcNode, parent uint32) error {
	if err := k.check(); err != nil {
		return err
	}
	now, err := k.queueing()
	if err != nil {
		return err
	}
	was, is := below(before, parent), below(now, parent)
	if len(was) > 0 && len(is) > 0 && was[0].kind == is[0].kind && was[0].handle == is[0].handle {
		if was[0].same(is[0]) {
			return nil
		}
		if is, err = k.changeBack(ctx, was[0], is, parent); err != nil || len(is) > 0 && was[0].same(is[0]) {
			return err
		}
	}
	if len(is) > 0 {
		if err := k.dropNode(ctx, is[0]); err != nil {
			return k.failed(err, "", "restore queueing of %s", k)
		}
	}
	return k.putAgain(ctx, was)
}

// changeBack changes a qdisc in place to what it was, if the kernel does; it gives back
// what there is then.
func (k *Link) changeBack(ctx context.Context, was tcNode, is []tcNode, parent uint32) ([]tcNode, error) {
	if is[0].outlasts(was) || k.putNode(ctx, "replace", was) != nil {
		return is, nil
	}
	k.recall(was)
	now, err := k.queueing()
	return below(now, parent), err
}

// putAgain makes what was there, in order.
func (k *Link) putAgain(ctx context.Context, was []tcNode) error {
	for _, n := range was {
		put := func(ctx context.Context, n tcNode) error { return k.putNode(ctx, "add", n) }
		if n.what == "filter" {
			put = k.restoreFilter
		}
		if err := put(ctx, n); err != nil {
			return k.failed(err, "", "restore %s %s of %s", n.what, n.kind, k)
		}
		if n.what != "filter" {
			k.recall(n)
		}
	}
	return nil
}

// same tells whether the kernel has the same options.
func (n tcNode) same(o tcNode) bool {
	return slices.Equal(n.words, o.words) && string(n.data) == string(o.data)
}

// restoreClass takes a class away, or makes it what it was.
func (k *Link) restoreClass(ctx context.Context, before []tcNode, c tcNode) error {
	if err := k.check(); err != nil {
		return err
	}
	for _, n := range before {
		if n.what == "class" && n.handle == c.handle {
			if err := k.putNode(ctx, "replace", n); err != nil {
				return k.failed(err, "", "restore class %s of %s", tcHandle(c.handle), k)
			}
			return nil
		}
	}
	if err := k.dropNode(ctx, c); err != nil && !errors.Is(err, unix.ENOENT) {
		return k.failed(err, "", "delete class %s of %s", tcHandle(c.handle), k)
	}
	return nil
}
