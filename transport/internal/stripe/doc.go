// Package stripe makes a [transport.Endpoint] of ordered byte streams: what TCP and QUIC have in common.
//
// Two endpoints have one session, of up to K connections, which carries all links (communicator, channel)
// between them. A frame travels on whichever connection has the least to do, or has room first, so the receiver puts the frames
// of a link in order by their number. Small frames and control messages have connection 0 for themselves
// when K > 1, so that an 8-byte operation never waits behind a megabyte.
//
//	Post -> slot of the link -> queue of a connection -> writer ====> reader -> slot of the link -> Poll
//	        (window frames)     (least queued bytes)                            (window frames)     Release
//	             ^                                                                                    |
//	             +------------------ credit: frames released so far <---------------------------------+
//
// Large frames for connections that have to be waited for are in one queue, the bulk, and whichever connection has room takes the next one. There
// may come to be more connections than in the beginning, where the carrier allows it: the side that sends decides on the number over which
// it does (see spread), and the side that has begun the session dials, for itself or because the other has asked it to (kindMore).
//
// On long paths the bulk is sent at the rate at which the other side says that it arrives (kindArrived, see pacer), so that the queue before the path's narrowest line stays
// short, and with it the round trip of the other direction.
//
// A connection that can be tried without waiting (over TCP, on Linux) is written to by whoever posts, and read by the rank
// that polls its link in vain: the writer and the reader are locks, and the goroutines that wait for the socket only see to what those
// who were there did not do. Others are written and read by the goroutines.
//
// Such a connection is also read straight into the memory that a frame's receiver wants it in, if that is known when the header comes and the header
// is the one that is expected ([transport.ExpectingLink]); other payloads go to memory of the pool.
//
// Flow control is by credit: at most window frames of a link are posted and not yet released by the peer, so
// the receiver has a slot for whatever arrives, its readers never wait, and no link can block another. A
// credit is a running count, which rides on every frame of the other direction and goes alone only when the
// sender's window is half used up.
//
// A session begins with a hello on connection 0, which the other endpoint accepts or refuses, and ends with a
// bye on every connection. A connection that ends without one means that the peer is lost. Either endpoint may
// begin; when both do, the session of the lower rank wins.
//
// An endpoint may have several carriers, such as QUIC and TCP. Who begins a session tries the best carrier that both
// sides offer, after a head start the next one beside it (as RFC 8305 does with addresses), and greets over the first
// that connects, one at a time. As there is one session between two endpoints and its beginning is what both sides
// agree on anyway, they agree on the carrier, too, whichever directions work: a session never has two.
package stripe
