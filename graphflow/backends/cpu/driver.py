"""The native side of a run: a walker of record tables shared by a team of threads, as LLVM text.

A record is four i64: kernel, address of its arguments, 1 if its work is shared among threads, and what comes after
it: 0 nothing, 1 all threads wait for each other, else they wait and then leave off if the word at this address is not
zero (nobody writes that word until all have looked, so all see the same). Every thread walks the same records; what is
not shared runs on the first.

A small number in place of a kernel steers: it says which record comes next (see `plan.STEERING`). Every thread steers
by itself. It has counters of its own, and copies of the arguments of what stands in a loop, in which it moves the
addresses from turn to turn; so threads wait for each other for the data's sake alone.

Where there are loops, a run may be told to stop: its segment has a watch, of which the first word says so. All threads
look at it after each turn and while they wait for each other, and leave off wherever they are. The first thread, which
is the caller's, sets it when a routine of the caller says so, which it asks every few hundredths of a second.

All waiting is one routine: look a while at a word until it changes, then give the core away a while, then sleep.
Who changes a word looks whether anybody sleeps on it. Sleeping is a futex on Linux, a condition variable elsewhere.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import fields
from typing import Literal

from graphflow.backends.cpu.jit import Jit
from graphflow.backends.cpu.target import Target
from graphflow.plan import STEERING
from graphflow.records import dataclass

__all__ = ["HEADER_WORDS", "TEAM_BYTES", "WATCH_WORDS", "Driver", "Sleep", "driver_text", "load_driver"]

Sleep = Literal["futex", "condition"]

# A team's memory. What different threads write lies on different cache lines.
_TEAM = {
    "generation": 0,  # i32, changes when there is work
    "generation_sleepers": 64,
    "arrivals": 128,  # i32, workers that have finished
    "joined": 192,  # i32, the generation all workers have finished
    "joined_sleepers": 196,
    "waiting": 256,  # i32, threads at the barrier
    "phase": 320,  # i32, barriers passed
    "phase_sleepers": 324,
    "busy": 384,
    "records": 448,
    "count": 456,
    "parts": 464,
    "trace": 472,
    "patience": 480,  # how often an idle worker gives its core away before it sleeps
    "stop": 488,
    "process": 496,
    "watch": 504,
    "mutex": 512,
    "condition": 640,
}
TEAM_BYTES = 768

# A segment's header: records, count, address of the cell that holds the team (or 0), patience, address of its watch
# (or 0), trace (or 0).
HEADER_WORDS = 6

# A watch: 1 if the run is to stop; the routine to ask, which takes the number of a record; when it was asked last; the
# turns so far.
WATCH_WORDS = 4
# Nanoseconds between two questions; the clock is read every so many turns, a power of two.
_ASK_EVERY = 50_000_000
_TURNS_UNREAD = 16

# Looks before a thread gives its core away: some ten microseconds.
_LOOKS = 500
# Times a thread gives its core away at a barrier before it sleeps.
_BARRIER_PATIENCE = 5000

_SYMBOL = "graphflow_driver"


@dataclass(frozen=True, slots=True)
class Driver:
    """Addresses of the driver's routines.

    copy: a kernel (target, source, bytes); segment(header): runs a segment, shared if the team is free;
    worker(ptr to {team, index}): a thread's life; stop(team) -> 1 if the team was idle and will end;
    prepare(team, parts): fills in a zeroed team.
    """

    copy: int
    segment: int
    worker: int
    stop: int
    prepare: int


def _pause(target: Target) -> tuple[str, str]:
    """Declaration and call of the instruction that tells the core we are only waiting."""
    if target.triple.startswith("x86_64"):
        return "declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"
    if target.triple.startswith(("aarch64", "arm64")):
        return "declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"
    return "", ""


_SLEEP_FUTEX = """
declare i64 @syscall(i64, ...)

; A fiftieth of a second.
@nap = private unnamed_addr constant {i64, i64} {i64 0, i64 20000000}

; Sleeps while the word is `old`; may wake for no reason.
define internal void @sleep(ptr %team, ptr %word, i32 %old) {
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i32 128, i32 %old, ptr null, ptr null, i32 0)
  ret void
}

; The same, but not for long.
define internal void @doze(ptr %team, ptr %word, i32 %old) {
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i32 128, i32 %old, ptr @nap, ptr null, i32 0)
  ret void
}

define internal void @wake(ptr %team, ptr %word) {
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  ret void
}
"""

_SLEEP_CONDITION = """
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @usleep(i32)

define internal void @doze(ptr %team, ptr %word, i32 %old) {
  %r = call i32 @usleep(i32 200)
  ret void
}

define internal void @sleep(ptr %team, ptr %word, i32 %old) {
entry:
  %mutex = getelementptr i8, ptr %team, i64 $mutex
  %condition = getelementptr i8, ptr %team, i64 $condition
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  br label %look
look:
  %now = load atomic i32, ptr %word seq_cst, align 4
  %same = icmp eq i32 %now, %old
  br i1 %same, label %wait, label %done
wait:
  %w = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %look
done:
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret void
}

define internal void @wake(ptr %team, ptr %word) {
  %mutex = getelementptr i8, ptr %team, i64 $mutex
  %condition = getelementptr i8, ptr %team, i64 $condition
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %b = call i32 @pthread_cond_broadcast(ptr %condition)
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret void
}
"""

_PREPARE_CONDITION = """
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_cond_init(ptr, ptr)
"""

_MAIN = """
declare i32 @sched_yield()
declare i32 @getpid()
declare i32 @clock_gettime(i32, ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
$PAUSE_DECLARATION

; Whether a watch says that the run is to stop.
define internal i1 @halted(ptr %watch) {
entry:
  %none = icmp eq ptr %watch, null
  br i1 %none, label %no, label %look
look:
  %word = load atomic i64, ptr %watch monotonic, align 8
  %set = icmp ne i64 %word, 0
  ret i1 %set
no:
  ret i1 false
}

; Returns when the word is no longer `old`, or the watch says that the run is to stop.
define internal void @await(ptr %team, ptr %word, i32 %old, i64 %patience, ptr %sleepers, ptr %watch) {
entry:
  br label %look
look:
  %i = phi i64 [0, %entry], [%i1, %again]
  %v = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %v, %old
  br i1 %changed, label %done, label %again
again:
  $PAUSE
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, $LOOKS
  br i1 %more, label %look, label %give
give:
  %k = phi i64 [0, %again], [%k1, %given]
  %v2 = load atomic i32, ptr %word acquire, align 4
  %changed2 = icmp ne i32 %v2, %old
  br i1 %changed2, label %done, label %heed
heed:
  %halt = call i1 @halted(ptr %watch)
  br i1 %halt, label %done, label %giving
giving:
  %tired = icmp sge i64 %k, %patience
  br i1 %tired, label %lie, label %given
given:
  %y = call i32 @sched_yield()
  %k1 = add i64 %k, 1
  br label %give
lie:
  ; First say that somebody sleeps, then look once more: whoever changes the word does it the other way round.
  %s = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %night
night:
  %v3 = load atomic i32, ptr %word seq_cst, align 4
  %changed3 = icmp ne i32 %v3, %old
  br i1 %changed3, label %rise, label %heed2
heed2:
  %halt2 = call i1 @halted(ptr %watch)
  br i1 %halt2, label %rise, label %snooze
snooze:
  %unwatched = icmp eq ptr %watch, null
  br i1 %unwatched, label %long, label %short
long:
  call void @sleep(ptr %team, ptr %word, i32 %old)
  br label %night
short:
  call void @doze(ptr %team, ptr %word, i32 %old)
  br label %night
rise:
  %s2 = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %done
done:
  ret void
}

define internal void @change(ptr %team, ptr %word, i32 %new, ptr %sleepers) {
entry:
  store atomic i32 %new, ptr %word seq_cst, align 4
  %n = load atomic i32, ptr %sleepers seq_cst, align 4
  %some = icmp ne i32 %n, 0
  br i1 %some, label %call, label %done
call:
  call void @wake(ptr %team, ptr %word)
  br label %done
done:
  ret void
}

define internal void @barrier(ptr %team, i32 %parts, ptr %watch) {
entry:
  %waiting = getelementptr i8, ptr %team, i64 $waiting
  %phase = getelementptr i8, ptr %team, i64 $phase
  %sleepers = getelementptr i8, ptr %team, i64 $phase_sleepers
  %now = load atomic i32, ptr %phase acquire, align 4
  %before = atomicrmw add ptr %waiting, i32 1 acq_rel
  %mine = add i32 %before, 1
  %last = icmp eq i32 %mine, %parts
  br i1 %last, label %open, label %wait
open:
  store atomic i32 0, ptr %waiting monotonic, align 4
  %next = add i32 %now, 1
  call void @change(ptr %team, ptr %phase, i32 %next, ptr %sleepers)
  ret void
wait:
  call void @await(ptr %team, ptr %phase, i32 %now, i64 $BARRIER_PATIENCE, ptr %sleepers, ptr %watch)
  ret void
}

define internal i64 @clock() {
  %spec = alloca {i64, i64}, align 8
  %r = call i32 @clock_gettime(i32 $CLOCK, ptr %spec)
  %s = load i64, ptr %spec
  %np = getelementptr i8, ptr %spec, i64 8
  %n = load i64, ptr %np
  %sn = mul i64 %s, 1000000000
  %t = add i64 %sn, %n
  ret i64 %t
}

; Whether to leave off after a turn, whose mark is a record. The first thread asks when it is time to.
define internal i1 @leaves(ptr %watch, i64 %part, i64 %record) {
entry:
  %none = icmp eq ptr %watch, null
  br i1 %none, label %no, label %look
look:
  %word = load atomic i64, ptr %watch monotonic, align 8
  %halt = icmp ne i64 %word, 0
  br i1 %halt, label %yes, label %whose
whose:
  %first = icmp eq i64 %part, 0
  br i1 %first, label %count, label %no
count:
  %turns_at = getelementptr i8, ptr %watch, i64 24
  %turns = load i64, ptr %turns_at
  %turns1 = add i64 %turns, 1
  store i64 %turns1, ptr %turns_at
  %rest = and i64 %turns, $TURNS_MASK
  %due = icmp eq i64 %rest, 0
  br i1 %due, label %read, label %no
read:
  %now = call i64 @clock()
  %last_at = getelementptr i8, ptr %watch, i64 16
  %last = load i64, ptr %last_at
  %fresh = icmp eq i64 %last, 0
  br i1 %fresh, label %begin, label %compare
begin:
  store i64 %now, ptr %last_at
  br label %no
compare:
  %gone = sub i64 %now, %last
  %long = icmp sgt i64 %gone, $ASK_EVERY
  br i1 %long, label %ask, label %no
ask:
  %routine_at = getelementptr i8, ptr %watch, i64 8
  %routine = load ptr, ptr %routine_at
  %said = call i64 %routine(i64 %record)
  %after = call i64 @clock()
  store i64 %after, ptr %last_at
  %stop = icmp ne i64 %said, 0
  br i1 %stop, label %tell, label %no
tell:
  store atomic i64 1, ptr %watch seq_cst, align 8
  br label %yes
yes:
  ret i1 true
no:
  ret i1 false
}
"""

# A thread's own words lie so many bytes further per thread than the first thread's. What runs in every turn is written
# out: no pass of LLVM's runs on this text that would put routines in place of calls.
_STEER = """
; The most turns of a loop: a number, and the number at an address if there is one.
define internal i64 @limit(ptr %words) {
entry:
  %number = load i64, ptr %words
  %address_at = getelementptr i8, ptr %words, i64 8
  %address = load ptr, ptr %address_at
  %plain = icmp eq ptr %address, null
  br i1 %plain, label %given, label %look
given:
  ret i64 %number
look:
  %found = load i64, ptr %address
  %less = icmp slt i64 %found, %number
  %least = select i1 %less, i64 %found, i64 %number
  ret i64 %least
}

; How many records further than the next one to go on. The first of the words is how many that may be.
define internal i64 @steer(i64 %code, ptr %words, i64 %part, ptr %state) {
entry:
  %w1 = getelementptr i8, ptr %words, i64 8
  %w2 = getelementptr i8, ptr %words, i64 16
  %w3 = getelementptr i8, ptr %words, i64 24
  %w4 = getelementptr i8, ptr %words, i64 32
  %w5 = getelementptr i8, ptr %words, i64 40
  %w6 = getelementptr i8, ptr %words, i64 48
  %w7 = getelementptr i8, ptr %words, i64 56
  %jump = load i64, ptr %words
  switch i64 %code, label %stay [
    i64 $ENTER, label %enter
    i64 $TURN, label %turn
    i64 $AGAIN, label %again
    i64 $UNLESS, label %unless
    i64 $CASE, label %case
    i64 $GO, label %go
    i64 $LEFT, label %left
  ]

enter:  ; jump, limit, its address, stride, counter, own arguments, arguments, their bytes
  %e_stride = load i64, ptr %w3
  %e_counter0 = load ptr, ptr %w4
  %e_skip = mul i64 %e_stride, %part
  %e_counter = getelementptr i8, ptr %e_counter0, i64 %e_skip
  store i64 0, ptr %e_counter
  %bytes = load i64, ptr %w7
  %outermost = icmp ne i64 %bytes, 0
  br i1 %outermost, label %copy, label %begin
copy:
  %own0 = load ptr, ptr %w5
  %own = getelementptr i8, ptr %own0, i64 %e_skip
  %model = load ptr, ptr %w6
  call void @llvm.memcpy.p0.p0.i64(ptr %own, ptr %model, i64 %bytes, i1 false)
  %own_word = ptrtoint ptr %own to i64
  %model_word = ptrtoint ptr %model to i64
  %shift = sub i64 %own_word, %model_word
  store i64 %shift, ptr %state
  br label %begin
begin:
  %e_limit = call i64 @limit(ptr %w1)
  %e_limit_at = getelementptr i8, ptr %e_counter, i64 8
  store i64 %e_limit, ptr %e_limit_at
  %e_any = icmp sgt i64 %e_limit, 0
  %e_jump = select i1 %e_any, i64 0, i64 %jump
  ret i64 %e_jump

turn:  ; 0, number of words to move, stride, then for each: own word, its model, number of terms; counter, step, swing
  %count = load i64, ptr %w1
  %t_stride = load i64, ptr %w2
  %t_skip = mul i64 %t_stride, %part
  %t_any = icmp sgt i64 %count, 0
  br i1 %t_any, label %move, label %stay
move:
  %n = phi i64 [0, %turn], [%n1, %moved]
  %at = phi ptr [%w3, %turn], [%term_last, %moved]
  %t_own0 = load ptr, ptr %at
  %t_model_at = getelementptr i8, ptr %at, i64 8
  %t_terms_at = getelementptr i8, ptr %at, i64 16
  %t_first = getelementptr i8, ptr %at, i64 24
  %t_model = load ptr, ptr %t_model_at
  %t_terms = load i64, ptr %t_terms_at
  %t_base = load i64, ptr %t_model
  br label %term
term:
  %k = phi i64 [0, %move], [%k1, %term]
  %sum = phi i64 [%t_base, %move], [%sum2, %term]
  %term_at = phi ptr [%t_first, %move], [%term_last, %term]
  %t_counter0 = load ptr, ptr %term_at
  %t_counter = getelementptr i8, ptr %t_counter0, i64 %t_skip
  %turns = load i64, ptr %t_counter
  %step_at = getelementptr i8, ptr %term_at, i64 8
  %step = load i64, ptr %step_at
  %swing_at = getelementptr i8, ptr %term_at, i64 16
  %swing = load i64, ptr %swing_at
  %far = mul i64 %turns, %step
  %odd = and i64 %turns, 1
  %mask = sub i64 0, %odd
  %swung = and i64 %mask, %swing
  %sum1 = add i64 %sum, %far
  %sum2 = add i64 %sum1, %swung
  %term_last = getelementptr i8, ptr %term_at, i64 24
  %k1 = add i64 %k, 1
  %k_more = icmp slt i64 %k1, %t_terms
  br i1 %k_more, label %term, label %moved
moved:
  %t_own = getelementptr i8, ptr %t_own0, i64 %t_skip
  store i64 %sum2, ptr %t_own
  %n1 = add i64 %n, 1
  %n_more = icmp slt i64 %n1, %count
  br i1 %n_more, label %move, label %stay

again:  ; jump, limit, its address, stride, counter
  %a_stride = load i64, ptr %w3
  %a_counter0 = load ptr, ptr %w4
  %a_skip = mul i64 %a_stride, %part
  %a_counter = getelementptr i8, ptr %a_counter0, i64 %a_skip
  %done = load i64, ptr %a_counter
  %done1 = add i64 %done, 1
  store i64 %done1, ptr %a_counter
  %a_number = load i64, ptr %w1
  %a_address = load ptr, ptr %w2
  %a_plain = icmp eq ptr %a_address, null
  br i1 %a_plain, label %compare, label %find
find:
  %a_found = load i64, ptr %a_address
  %a_less = icmp slt i64 %a_found, %a_number
  %a_least = select i1 %a_less, i64 %a_found, i64 %a_number
  br label %compare
compare:
  %a_limit = phi i64 [%a_number, %again], [%a_least, %find]
  %a_more = icmp slt i64 %done1, %a_limit
  %a_jump = select i1 %a_more, i64 %jump, i64 0
  ret i64 %a_jump

unless:  ; jump, address of a bool
  %u_at = load ptr, ptr %w1
  %u = load i8, ptr %u_at
  %holds = icmp ne i8 %u, 0
  %u_jump = select i1 %holds, i64 0, i64 %jump
  ret i64 %u_jump

case:  ; jump, address of an i32, the number it is to be
  %c_at = load ptr, ptr %w1
  %c = load i32, ptr %c_at
  %c_long = sext i32 %c to i64
  %wanted = load i64, ptr %w2
  %is_it = icmp eq i64 %c_long, %wanted
  %c_jump = select i1 %is_it, i64 0, i64 %jump
  ret i64 %c_jump

go:  ; jump
  ret i64 %jump

left:  ; of the outermost loop
  store i64 0, ptr %state
  br label %stay

stay:
  ret i64 0
}
"""

_WALK = """
define internal void @walk$SUFFIX(ptr %records, i64 %count, i64 %part, i64 %parts, ptr %team, ptr %trace, ptr %watch) {
entry:
  %state = alloca i64, align 8
  store i64 0, ptr %state
  %parts32 = trunc i64 %parts to i32
  %alone = icmp eq i64 %parts, 1
  %first = icmp eq i64 %part, 0
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %next, label %done
next:
  %i = phi i64 [0, %entry], [%i1, %tail]
  %offset = shl i64 %i, 5
  %record = getelementptr i8, ptr %records, i64 %offset
  %args_at = getelementptr i8, ptr %record, i64 8
  %shared_at = getelementptr i8, ptr %record, i64 16
  %barrier_at = getelementptr i8, ptr %record, i64 24
  %kernel = load ptr, ptr %record
  %model = load ptr, ptr %args_at
  %code = ptrtoint ptr %kernel to i64
  %steers = icmp ult i64 %code, $CODES
  br i1 %steers, label %steer, label %work
steer:
  %ahead = call i64 @steer(i64 %code, ptr %model, i64 %part, ptr %state)
  %turned = icmp eq i64 %code, $AGAIN
  br i1 %turned, label %ended, label %ran
ended:
  %leaves = call i1 @leaves(ptr %watch, i64 %part, i64 %i)
  br i1 %leaves, label %done, label %ran
work:
  %shift = load i64, ptr %state
  %args = getelementptr i8, ptr %model, i64 %shift
  %shared64 = load i64, ptr %shared_at
  %shared = icmp ne i64 %shared64, 0
  %all = select i1 %shared, i64 %parts, i64 1
  %mine = or i1 %shared, %first
  br i1 %mine, label %run, label %ran
run:
  $BEFORE
  call void %kernel(ptr %args, i64 %part, i64 %all)
  $AFTER
  br label %ran
ran:
  %jump = phi i64 [%ahead, %steer], [%ahead, %ended], [0, %work], [0, $LAST]
  %barrier = load i64, ptr %barrier_at
  %must = icmp ne i64 %barrier, 0
  br i1 %must, label %together, label %tail
together:
  br i1 %alone, label %met, label %wait
wait:
  call void @barrier(ptr %team, i32 %parts32, ptr %watch)
  %halt = call i1 @halted(ptr %watch)
  br i1 %halt, label %done, label %met
met:
  %looks = icmp ugt i64 %barrier, 1
  br i1 %looks, label %look, label %tail
look:
  %word = inttoptr i64 %barrier to ptr
  %status = load i64, ptr %word
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %done, label %tail
tail:
  %i0 = add i64 %i, %jump
  %i1 = add i64 %i0, 1
  %more = icmp slt i64 %i1, %count
  br i1 %more, label %next, label %done
done:
  ret void
}
"""

# Of a launch that runs several times: its first start and last stop, the time between starts and stops, how often.
_AFTER_TRACED = """%stop = call i64 @clock()
  %row = mul i64 %part, %count
  %cell = add i64 %row, %i
  %at = shl i64 %cell, 5
  %start_at = getelementptr i8, ptr %trace, i64 %at
  %stop_at = getelementptr i8, ptr %start_at, i64 8
  %busy_at = getelementptr i8, ptr %start_at, i64 16
  %turns_at = getelementptr i8, ptr %start_at, i64 24
  %turns = load i64, ptr %turns_at
  %turns1 = add i64 %turns, 1
  store i64 %turns1, ptr %turns_at
  %busy = load i64, ptr %busy_at
  %took = sub i64 %stop, %start
  %busy1 = add i64 %busy, %took
  store i64 %busy1, ptr %busy_at
  store i64 %stop, ptr %stop_at
  %again = icmp ne i64 %turns, 0
  br i1 %again, label %ran, label %early
early:
  store i64 %start, ptr %start_at"""

_TEAMWORK = """
define internal void @go(ptr %records, i64 %count, i64 %part, i64 %parts, ptr %team, ptr %trace, ptr %watch) {
  %plain = icmp eq ptr %trace, null
  br i1 %plain, label %walk, label %traced
walk:
  call void @walk(ptr %records, i64 %count, i64 %part, i64 %parts, ptr %team, ptr null, ptr %watch)
  ret void
traced:
  call void @walk_traced(ptr %records, i64 %count, i64 %part, i64 %parts, ptr %team, ptr %trace, ptr %watch)
  ret void
}

define internal ptr @worker(ptr %self) {
entry:
  %team = load ptr, ptr %self
  %index_at = getelementptr i8, ptr %self, i64 8
  %index = load i64, ptr %index_at
  %sleepers = getelementptr i8, ptr %team, i64 $generation_sleepers
  %patience_at = getelementptr i8, ptr %team, i64 $patience
  %stop_at = getelementptr i8, ptr %team, i64 $stop
  %records_at = getelementptr i8, ptr %team, i64 $records
  %count_at = getelementptr i8, ptr %team, i64 $count
  %parts_at = getelementptr i8, ptr %team, i64 $parts
  %trace_at = getelementptr i8, ptr %team, i64 $trace
  %watch_at = getelementptr i8, ptr %team, i64 $watch
  %arrivals = getelementptr i8, ptr %team, i64 $arrivals
  %joined = getelementptr i8, ptr %team, i64 $joined
  %joined_sleepers = getelementptr i8, ptr %team, i64 $joined_sleepers
  %parts = load i64, ptr %parts_at
  %parts32 = trunc i64 %parts to i32
  %workers = sub i32 %parts32, 1
  br label %idle
idle:
  %seen = phi i32 [0, %entry], [%now, %work], [%now, %last]
  %patience = load atomic i64, ptr %patience_at monotonic, align 8
  call void @await(ptr %team, ptr %team, i32 %seen, i64 %patience, ptr %sleepers, ptr null)
  %now = load atomic i32, ptr %team acquire, align 4
  %stop = load atomic i64, ptr %stop_at monotonic, align 8
  %end = icmp ne i64 %stop, 0
  br i1 %end, label %gone, label %work
work:
  %records = load ptr, ptr %records_at
  %count = load i64, ptr %count_at
  %trace = load ptr, ptr %trace_at
  %watch = load ptr, ptr %watch_at
  call void @go(ptr %records, i64 %count, i64 %index, i64 %parts, ptr %team, ptr %trace, ptr %watch)
  %before = atomicrmw add ptr %arrivals, i32 1 acq_rel
  %mine = add i32 %before, 1
  %all = icmp eq i32 %mine, %workers
  br i1 %all, label %last, label %idle
last:
  store atomic i32 0, ptr %arrivals monotonic, align 4
  call void @change(ptr %team, ptr %joined, i32 %now, ptr %joined_sleepers)
  br label %idle
gone:
  ret ptr null
}

define internal void @segment(ptr %header) {
entry:
  %count_in = getelementptr i8, ptr %header, i64 8
  %cell_in = getelementptr i8, ptr %header, i64 16
  %patience_in = getelementptr i8, ptr %header, i64 24
  %watch_in = getelementptr i8, ptr %header, i64 32
  %trace_in = getelementptr i8, ptr %header, i64 40
  %records = load ptr, ptr %header
  %count = load i64, ptr %count_in
  %cell = load ptr, ptr %cell_in
  %trace = load ptr, ptr %trace_in
  %watch = load ptr, ptr %watch_in
  %unwatched = icmp eq ptr %watch, null
  br i1 %unwatched, label %who, label %rewind
rewind:
  %halt_words = getelementptr i8, ptr %watch, i64 16
  store i64 0, ptr %watch
  store i64 0, ptr %halt_words
  br label %who
who:
  %solo = icmp eq ptr %cell, null
  br i1 %solo, label %alone, label %ask
ask:
  %team = load ptr, ptr %cell
  %none = icmp eq ptr %team, null
  br i1 %none, label %alone, label %claim
claim:
  %busy = getelementptr i8, ptr %team, i64 $busy
  %pair = cmpxchg ptr %busy, i32 0, i32 1 acq_rel monotonic
  %got = extractvalue {i32, i1} %pair, 1
  br i1 %got, label %ours, label %alone
ours:
  ; A child of fork has the memory of the team, but not its threads.
  %process_at = getelementptr i8, ptr %team, i64 $process
  %process = load i32, ptr %process_at
  %here = call i32 @getpid()
  %same = icmp eq i32 %process, %here
  br i1 %same, label %start, label %orphan
orphan:
  store atomic i32 0, ptr %busy release, align 4
  br label %alone
start:
  %records_at = getelementptr i8, ptr %team, i64 $records
  %count_at = getelementptr i8, ptr %team, i64 $count
  %parts_at = getelementptr i8, ptr %team, i64 $parts
  %trace_at = getelementptr i8, ptr %team, i64 $trace
  %watch_at = getelementptr i8, ptr %team, i64 $watch
  %patience_at = getelementptr i8, ptr %team, i64 $patience
  %sleepers = getelementptr i8, ptr %team, i64 $generation_sleepers
  %joined = getelementptr i8, ptr %team, i64 $joined
  %joined_sleepers = getelementptr i8, ptr %team, i64 $joined_sleepers
  %patience = load i64, ptr %patience_in
  store ptr %records, ptr %records_at
  store i64 %count, ptr %count_at
  store ptr %trace, ptr %trace_at
  store ptr %watch, ptr %watch_at
  store atomic i64 %patience, ptr %patience_at monotonic, align 8
  %parts = load i64, ptr %parts_at
  %generation = load atomic i32, ptr %team monotonic, align 4
  %next = add i32 %generation, 1
  call void @change(ptr %team, ptr %team, i32 %next, ptr %sleepers)
  call void @go(ptr %records, i64 %count, i64 0, i64 %parts, ptr %team, ptr %trace, ptr %watch)
  call void @await(ptr %team, ptr %joined, i32 %generation, i64 $BARRIER_PATIENCE, ptr %joined_sleepers, ptr null)
  ; Who left off may have left others waiting, who left then: nobody waits any more.
  %waiting = getelementptr i8, ptr %team, i64 $waiting
  store atomic i32 0, ptr %waiting monotonic, align 4
  store atomic i32 0, ptr %busy release, align 4
  ret void
alone:
  call void @go(ptr %records, i64 %count, i64 0, i64 1, ptr null, ptr %trace, ptr %watch)
  ret void
}

define internal i64 @stop(ptr %team) {
entry:
  %busy = getelementptr i8, ptr %team, i64 $busy
  %pair = cmpxchg ptr %busy, i32 0, i32 1 acq_rel monotonic
  %got = extractvalue {i32, i1} %pair, 1
  br i1 %got, label %end, label %no
end:
  %stop_at = getelementptr i8, ptr %team, i64 $stop
  %sleepers = getelementptr i8, ptr %team, i64 $generation_sleepers
  store atomic i64 1, ptr %stop_at monotonic, align 8
  %generation = load atomic i32, ptr %team monotonic, align 4
  %next = add i32 %generation, 1
  call void @change(ptr %team, ptr %team, i32 %next, ptr %sleepers)
  ret i64 1
no:
  ret i64 0
}

define internal void @prepare(ptr %team, i64 %parts) {
  %parts_at = getelementptr i8, ptr %team, i64 $parts
  %process_at = getelementptr i8, ptr %team, i64 $process
  store i64 %parts, ptr %parts_at
  %here = call i32 @getpid()
  store i32 %here, ptr %process_at
  $PREPARE
  ret void
}

; A kernel (target, source, bytes): each part copies whole cache lines. In place there is nothing to do.
define internal void @copy(ptr %args, i64 %part, i64 %parts) {
entry:
  %source_at = getelementptr i8, ptr %args, i64 8
  %bytes_at = getelementptr i8, ptr %args, i64 16
  %target = load ptr, ptr %args
  %source = load ptr, ptr %source_at
  %bytes = load i64, ptr %bytes_at
  %padded = add i64 %bytes, 63
  %lines = lshr i64 %padded, 6
  %low = mul i64 %lines, %part
  %low1 = udiv i64 %low, %parts
  %start = shl i64 %low1, 6
  %next = add i64 %part, 1
  %high = mul i64 %lines, %next
  %high1 = udiv i64 %high, %parts
  %high2 = shl i64 %high1, 6
  %inside = icmp ult i64 %high2, %bytes
  %end = select i1 %inside, i64 %high2, i64 %bytes
  %size = sub i64 %end, %start
  %some = icmp sgt i64 %size, 0
  %apart = icmp ne ptr %target, %source
  %needed = and i1 %some, %apart
  br i1 %needed, label %move, label %done
move:
  %to = getelementptr i8, ptr %target, i64 %start
  %from = getelementptr i8, ptr %source, i64 %start
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %size, i1 false)
  br label %done
done:
  ret void
}
"""


def driver_text(target: Target, sleep: Sleep | None = None) -> tuple[str, str]:
    """The driver's symbol and LLVM text. Its one public function writes the addresses of the others to a table."""
    if sleep is None:
        sleep = "futex" if "linux" in target.triple else "condition"
    declaration, pause = _pause(target)
    prepare = ""
    parts = [_SLEEP_FUTEX if sleep == "futex" else _SLEEP_CONDITION]
    if sleep == "condition":
        parts.append(_PREPARE_CONDITION)
        prepare = """%mutex = getelementptr i8, ptr %team, i64 $mutex
  %condition = getelementptr i8, ptr %team, i64 $condition
  %m = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %c = call i32 @pthread_cond_init(ptr %condition, ptr null)"""
    parts.append(_MAIN)
    parts.append(_STEER)
    plain = _WALK.replace("$SUFFIX", "").replace("$BEFORE", "").replace("$AFTER", "")
    parts.append(plain.replace("$LAST", "%run"))
    traced = _WALK.replace("$SUFFIX", "_traced").replace("$BEFORE", "%start = call i64 @clock()")
    parts.append(traced.replace("$AFTER", _AFTER_TRACED).replace("[0, $LAST]", "[0, %run], [0, %early]"))
    parts.append(_TEAMWORK.replace("$PREPARE", prepare))
    stores = []
    for number, routine in enumerate(fields(Driver)):
        stores.append(f"  %p{number} = getelementptr i8, ptr %table, i64 {8 * number}")
        stores.append(f"  store ptr @{routine.name}, ptr %p{number}")
    parts.append(f"define void @{_SYMBOL}(ptr %table) {{\n" + "\n".join(stores) + "\n  ret void\n}\n")
    words = {
        "PAUSE_DECLARATION": declaration,
        "PAUSE": pause,
        "LOOKS": str(_LOOKS),
        "BARRIER_PATIENCE": str(_BARRIER_PATIENCE),
        "FUTEX": "202" if target.triple.startswith("x86_64") else "98",
        "CODES": str(len(STEERING) + 1),
        "TURNS_MASK": str(_TURNS_UNREAD - 1),
        "ASK_EVERY": str(_ASK_EVERY),
        **{name.upper(): str(code) for name, code in STEERING.items()},
        "CLOCK": "8" if "darwin" in target.triple or "macos" in target.triple else "1",
        **{name: str(offset) for name, offset in _TEAM.items()},
    }
    text = re.sub(r"\$([A-Za-z_]+)", lambda match: words[match[1]], "\n".join(parts))
    return _SYMBOL, text


def load_driver(jit: Jit, sleep: Sleep | None = None) -> Driver:
    """Compiles the driver (or takes it from the cache) and reads the addresses of its routines."""
    symbol, text = driver_text(jit.target, sleep)
    address = jit.compile([(symbol, text)])[symbol]
    names = [routine.name for routine in fields(Driver)]
    table = (ctypes.c_int64 * len(names))()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(table))
    return Driver(**dict(zip(names, table, strict=True)))
