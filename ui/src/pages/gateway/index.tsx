import { Page } from "../../shell/page";

export default function Gateway() {
  return <Page title="Gateway">{null}</Page>;
}
