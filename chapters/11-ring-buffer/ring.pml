/*
 * The ring of ring-buffer.c, small enough to try everything: two slots, and
 * counters of two bits, which wrap at every fourth item. spin takes the steps of
 * both sides in every order that there is, for any number of items.
 *
 *     spin -a ring.pml && cc -o pan pan.c && ./pan
 *
 * Steps of one process stay in their order here. So this checks the algorithm,
 * given that acquire and release keep that order. What becomes of it when they
 * do not is tried with -DTAIL_EARLY and -DHEAD_EARLY: the counter is stored
 * before the slot is written, or read. -DBITS=1: counters too small to tell
 * full from empty. Each of the three must fail.
 */
#ifndef BITS
#define BITS 2
#endif
#define ENTRIES 2
#define INDEX(counter) ((counter) & (ENTRIES - 1))
#define COUNTER(value) ((value) & ((1 << BITS) - 1))
#define NUMBERS 5 /* Items are numbered, and from 0 again after 4. */

byte tail = COUNTER(3), head = COUNTER(3);
byte slot[ENTRIES];

/* Not in the program: is there an item in the slot that nobody has read? */
bool unread[ENTRIES];

inline write_slot()
{
    d_step {
        assert(!unread[INDEX(mine)]); /* Never overwrites an unread item. */
        slot[INDEX(mine)] = number;
        unread[INDEX(mine)] = true
    }
}

inline read_slot()
{
    d_step {
        assert(unread[INDEX(mine)]);         /* Never reads an unwritten slot. */
        assert(slot[INDEX(mine)] == number); /* First in, first out. */
        unread[INDEX(mine)] = false
    }
}

active proctype producer()
{
    byte mine = tail, theirs, number;

    do
    :: theirs = head;
       assert(COUNTER(mine - theirs) <= ENTRIES);
       if
       :: COUNTER(mine - theirs) == ENTRIES -> skip /* Full: look again. */
       :: else ->
#ifdef TAIL_EARLY
          tail = COUNTER(mine + 1);
          write_slot();
#else
          write_slot();
          tail = COUNTER(mine + 1);
#endif
          mine = COUNTER(mine + 1);
          number = (number + 1) % NUMBERS
       fi
    od
}

active proctype consumer()
{
    byte mine = head, theirs, number;

    do
    :: theirs = tail;
       assert(COUNTER(theirs - mine) <= ENTRIES);
       if
       :: theirs == mine -> skip /* Empty: look again. */
       :: else ->
#ifdef HEAD_EARLY
          head = COUNTER(mine + 1);
          read_slot();
#else
          read_slot();
          head = COUNTER(mine + 1);
#endif
          mine = COUNTER(mine + 1);
          number = (number + 1) % NUMBERS
       fi
    od
}
