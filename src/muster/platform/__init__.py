"""What every slice stands on: servers, sessions, queue, routes, logs. It knows no business word."""
