// Package reports has tests of problems that people reported about other stacks, each as it
// was described, in network namespaces. Some reports are tests of the package that they concern.
// The whole list, by the numbers of the reports:
//
//	 1  batched calls are refused     TestRejectedBatchCallsCostNoDatagram TestEverySystemCallMayFail
//	 2  a socket is destroyed         TestAConnectedSocketSurvivesItsDestruction TestAListenerSurvivesItsDestruction TestASocketThatCannotBeRepairedStops
//	 3  no loopback address           TestListenWithoutLoopback
//	 4  a sender without an address   TestAClientWithoutAnAddress TestWhatCanNotBeSent TestDHCP
//	 5  ECN clears the DSCP           TestECNLeavesTheDSCP
//	 6  the peer is an unexpected source  TestRepliesComeFromTheKernelsPeer TestRepliesComeFromAPeerThatWasRewritten
//	 7  replies wait for a whole read TestAReplyDoesNotWaitForOtherHandlers TestTheLastReplyOfAReadDoesNotWaitForItsHandler
//	 8  broadcasts by each interface  TestBroadcastsByEveryInterface TestABroadcastLeavesByItsInterface
//	 9  the reply takes another link  TestTwoLinksWithTheSameNetwork TestAClientBehindAnotherTable
//	10  no room for control messages  TestOptionsOfTheProgramsOwnCostNoControlMessage
//	11  tentative addresses           TestOnMembershipWhenAnAddressBecomesUsable TestListenBeforeTheNetwork
//	12  shutdown in a reuseport group TestShutdownLeavesItsGroup TestRollingRestart TestRollingRestartOfProcesses
//	13  addresses local by a route    TestAddressesThatAreLocalByRoute TestRepliesLeaveFromAddressesThatAreLocalByRoute
//	14  a link-local address is asked by a global one  TestALinkLocalAddressAskedByAGlobalOne
//	15  To without a zone             TestADestinationCanBeListenedOn
//	16  a source address is removed   TestAnIPv6SourceAddressThatWasRemoved TestASourceAddressThatWasReplaced TestAReplyFromAnAddressThatWasRemoved TestAPacketConnWhoseSourceAddressWasRemoved
//	17  a device is created again     TestADeviceThatWasCreatedAgain TestAPacketConnFollowsItsDevice
//	18  one bad destination           TestEachDestinationOfABatchForItself TestABatchGoesOnAfterFailures
//	19  Dial before the network       TestDialBeforeTheNetwork
//	20  Join before the interface     TestJoinBeforeTheInterface TestAnnounceOnAnInterfaceThatIsCreatedLater
//	21  received hop limit            TestReceivedTTLAndClass TestTTLsOfCoalescedDatagrams
//	22  unicast TTL, 255 for mDNS     TestTTLOfSocketAndMessage TestAnnounceDoesNotAnswer
//	23  device and mark               TestOptionsOutliveThePeer TestOptionsThatNeedAnotherNetwork TestManyGroupsOnOneDevice
//	24  DSCP                          TestECNLeavesTheDSCP TestReceivedTTLAndClass TestOptionsOutliveThePeer
//	25  net.PacketConn                TestQUIC TestDTLS TestDNS TestSNMP TestPacketConnNettest
//	26  addresses that are not there  TestOptionsThatNeedAnotherNetwork TestListenBeforeTheNetwork TestListenOnANameOfSeveralAddresses
//	27  transparent proxies           TestATransparentSocketReportsTheOriginalDestination
//	28  path MTU discovery            TestOptionsThatNeedAnotherNetwork TestForgedMTUs
//	29  transmit timestamps           TestTransmitTimestamps TestTransmitTimestampsOfTheProgramsOwn
//	30  control messages              TestControlMessagesOfTheProgramsOwn
//	31  a deadline of one send        TestASendWithItsOwnDeadline TestASendWaitsForTheQueueOfTheInterface
//	34  segments over other paths     TestSegmentedSendsOverOtherPaths TestADeviceWithoutSegmentsIsNotEverybodys
//
// 4, 8, 14, 17, 19, 20, 29, 30 and 31 failed when they were first run here.
//
// The six demonstrations of the README are also here: a read loop around net.UDPConn fails,
// and then the same works with package udp.
package reports
