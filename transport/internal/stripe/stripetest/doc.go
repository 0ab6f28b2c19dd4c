// Package stripetest holds what the tests of transports on the network have in common, beyond the conformance
// suite: two processes, the death of one, and those who must not get in.
package stripetest
