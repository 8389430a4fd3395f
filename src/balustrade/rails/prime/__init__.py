"""PrimeGuard: route a request by the designer's guidelines instead of refusing it by reflex."""
