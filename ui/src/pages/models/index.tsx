import { Page } from "../../shell/page";

export default function Models() {
  return <Page title="Models">{null}</Page>;
}
