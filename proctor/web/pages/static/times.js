// Times that stand in a page as the server knows them, in the reader's zone and manner.

import { dateOf } from "./common.js";

for (const time of document.querySelectorAll("time[datetime]")) time.textContent = dateOf(new Date(time.dateTime));
