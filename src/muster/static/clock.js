const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short" });

/** Times that were written in UTC, as the reader's own clock has them. */
export function tellClocks(root) {
  for (const time of root.querySelectorAll("time[data-clock]")) {
    const moment = new Date(time.dateTime);
    const isToday = moment.toDateString() === new Date().toDateString();
    time.textContent = isToday ? CLOCK.format(moment) : `${DAY.format(moment)} ${CLOCK.format(moment)}`;
  }
}
