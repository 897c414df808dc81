// Package booking books devices at the daemon itself, for those who have no reservation system.
//
// A booking is a reservation of the source [activation.BookingSource]. The store is all that
// this source has: one transaction looks who else has the devices, what the owner has booked
// already, and books. So of any number of clients that want the same slot at the same time one
// gets it, and no owner gets more than its [Quota]. A booking displaces nobody; it is refused
// if anybody else has a device in its slot.
//
// # What it leaves to others
//
// Package activation activates bookings as it does other reservations. It also keeps the
// indexes that say what an owner has booked. If a source announces a reservation of a higher
// priority later, it decides who keeps the device.
package booking
