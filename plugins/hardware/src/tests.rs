mod live;
mod machine;
mod network;
mod odd;
mod processors;
mod storage;
