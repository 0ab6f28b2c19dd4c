package transporttest

import (
	"testing"
)

// A Case is one test of the suite.
type Case struct {
	Name string
	Run  func(t *testing.T, make Maker)
}

// Cases returns the suite, for callers that wrap each test (in a testing/synctest bubble, say).
func Cases() []Case {
	return []Case{
		{"Listen", testListen},
		{"Order", testOrder},
		{"Exercise", testExercise},
		{"ManyLinks", testManyLinks},
		{"Borrowed", testBorrowed},
		{"Window", testWindow},
		{"PostBeforePeerOpens", testPostBeforePeerOpens},
		{"OpenOrder", testOpenOrder},
		{"OpenErrors", testOpenErrors},
		{"PayloadLengths", testPayloadLengths},
		{"PostErrors", testPostErrors},
		{"Fail", testFail},
		{"FailBeforePeerOpens", testFailBeforePeerOpens},
		{"LongReason", testLongReason},
		{"Close", testClose},
		{"CloseBeforePeerOpens", testCloseBeforePeerOpens},
		{"UseAfterClose", testUseAfterClose},
		{"HeldFrameAfterEnd", testHeldFrameAfterEnd},
		{"EndpointClose", testEndpointClose},
		{"EndpointCloseDelivers", testEndpointCloseDelivers},
		{"EndpointCloseWhileInUse", testEndpointCloseWhileInUse},
		{"BellRings", testBellRings},
		{"NoLostWakeUp", testNoLostWakeUp},
		{"Bell", testBell},
		{"Alloc", testAlloc},
		{"AllocSend", testAllocSend},
		{"AllocReuse", testAllocReuse},
		{"AllocErrors", testAllocErrors},
		{"Placement", testPlacement},
		{"PlacementEnds", testPlacementEnds},
		{"Expect", testExpect},
		{"ExpectErrors", testExpectErrors},
		{"ExpectEnds", testExpectEnds},
		{"ConcurrentEnds", testConcurrentEnds},
		{"NoLeak", testNoLeak},
		{"NoAllocs", testNoAllocs},
		{"ReleaseWithoutFrame", testReleaseWithoutFrame},
	}
}

// Run runs the whole suite on the groups that make makes.
func Run(t *testing.T, make Maker) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, make) })
	}
}
